-- The users among these that belong to the company.   $1 users
select id from users where id = any ($1) and not is_deleted and company_id = (select app.company_id())
