-- Whether a restore into this database has begun and not ended. The catalog knows it at once, and a session's setting
-- only when it began later.
select exists (
  select from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
  where d.datname = current_database() and s.setrole = 0 and 'ringfence.unfinished_restore=on' = any (s.setconfig))
