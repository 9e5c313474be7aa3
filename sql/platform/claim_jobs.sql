-- None while a restore into this database has not ended, as platform/unfinished_restore has it: behind a pooler a
-- connection may be older than the database.
-- $1 kinds   $2 how many at most   $3 of one company at a time   $4 of one kind of those   $5, $6 companies and kinds
-- of those under way
select id, company_id, user_id, kind, record_id from app.claim_jobs($1, $2, $3, $4, $5, $6)
where not exists (
  select from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
  where d.datname = current_database() and s.setrole = 0 and 'ringfence.unfinished_restore=on' = any (s.setconfig))
