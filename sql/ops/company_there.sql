-- $1 company   $2 its name
select from companies c where c.id = $1 or c.name = $2
