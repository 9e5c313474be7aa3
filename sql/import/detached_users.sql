-- Users imported without their company, which has been imported since, and who have been in no company here.
select u.id, c.id as company_id
from old_user_companies o join users u on u.id = o.user_id join companies c on c.id = o.company_id
join ops.imported i on i.table_name = 'users' and i.id = u.id
join ops.imported k on k.table_name = 'companies' and k.id = c.id
where u.company_id is null
  and not exists (select from members m join companies d on d.id = m.tenant_id where m.user_id = u.id)
order by 1
