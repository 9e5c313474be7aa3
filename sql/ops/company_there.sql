-- Historical rows of a user without company are below the user's id: no company may have it.
-- $1 company   $2 its name
select from companies c where c.id = $1 or c.name = $2 union all select from users u where u.id = $1
