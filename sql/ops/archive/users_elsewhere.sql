-- The users among these who are not in the company, each with their own company.
-- $1 users   $2 company
select u.id, u.email, concat_ws(' of ', u.email, c.name) as whose from users u left join companies c on c.id = u.company_id
where u.id = any ($1) and u.company_id is distinct from $2
order by 3
