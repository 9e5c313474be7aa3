-- What was due is cancelled or to be kept, and tokens have ended: the copy may be served.
do $$
begin
  execute format('alter database %I reset ringfence.unfinished_restore', current_database());
end $$
