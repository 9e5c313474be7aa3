-- $1 company
insert into folders (tenant_id, company_id, owner_id, name, description)
select $1, $1, u.id, f.name, f.description
from (select id from users where company_id = $1 order by created_at, id limit 1) u
cross join (values ('Contracts', 'Signed and countersigned'), ('Photos', 'Before and after'), ('Price lists', null)) as f (name, description)
