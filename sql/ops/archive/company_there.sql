-- Whether the name or id is taken. An id is also taken by a user, whose id is the tenant of rows without company.
-- $1 company   $2 its name
select from companies c where c.id = $1 or c.name = $2 union all select from users u where u.id = $1
