-- Removes the backup's ($1) grants to logins that are not theirs here, except those named in $2. The backup of an older
-- database does not record the role of a grant.
delete from app.operator_grant g
where not exists (
  select from jsonb_to_recordset($1::text::jsonb -> 'logins') as l (name name, oid oid)
  where l.name = g.db_role and l.name::text = any ($2::text[]) and coalesce((to_jsonb(g) ->> 'role_oid')::oid, l.oid) = l.oid)
returning db_role::text as name
