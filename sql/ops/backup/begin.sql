-- Says in the empty database that a restore into it has not ended, which a server and a worker heed. A dump does not have it.
do $$
begin
  execute format('alter database %I set ringfence.unfinished_restore = %L', current_database(), 'on');
end $$
