-- $1 company
delete from members m
where m.tenant_id = $1 or m.tenant_id = m.user_id and m.user_id in (
  select u.id from users u
  where u.company_id = $1 or ops.is_nameless(u) and exists (select from members o where o.tenant_id = $1 and o.user_id = u.id))
