-- The contacts with an address, and the users.
-- $1 address, lower-cased   $2 company, or null
select 'contact' as kind, c.id, c.tenant_id, coalesce(nullif(c.phone_digits, ''), '-') as digits from contacts c
where lower(c.email) = $1 and ($2::uuid is null or c.tenant_id = $2)
union all
select 'user', u.id, coalesce(u.company_id, u.id), '-' from users u
where app.global_key(u.email) = app.global_key($1) and ($2::uuid is null or u.company_id = $2)
order by 1, 2
