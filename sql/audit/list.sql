-- The company's audit log, newest first.
-- $1 table   $2 record   $3 user   $4 limit   $5 skip
select a.id, a.created_at, a.table_name, a.record_id, a.action, a.before, a.after, a.user_id,
  u.first_name || ' ' || u.last_name as user_name, a.role, a.db_role::text, a.request_id
from audit_log a
left join users u on u.id = a.user_id
where ($1::text is null or a.table_name = $1) and ($2::uuid is null or a.record_id = $2) and ($3::uuid is null or a.user_id = $3)
-- cursor: and (a.created_at, a.id) < ($6, $7)
order by a.created_at desc, a.id desc
limit $4 offset $5
