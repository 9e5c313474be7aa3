-- Due work is cancelled or kept, and tokens have ended: the copy may be served.
do $$
begin
  execute format('alter database %I reset ringfence.unfinished_restore', current_database());
end $$
