-- Marks the empty database as an unfinished restore, which servers and workers respect. A dump does not contain the
-- mark.
do $$
begin
  execute format('alter database %I set ringfence.unfinished_restore = %L', current_database(), 'on');
end $$
