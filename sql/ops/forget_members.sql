-- $1 company
delete from members m
where m.tenant_id = $1 or (m.tenant_id = m.user_id and m.user_id in (select u.id from users u where u.company_id = $1))
