-- Deletes a company's log, and clears what other companies' logs say about its users. Run before the users are deleted.
-- $1 company
with gone as (select u.id from users u where u.company_id = $1),
  forgotten as (
    update audit_log a set before = null, after = null
    where a.company_id <> $1 and a.table_name = 'users' and a.record_id in (select g.id from gone g)
  )
delete from audit_log a where a.company_id = $1 or (a.company_id is null and a.record_id in (select g.id from gone g))
