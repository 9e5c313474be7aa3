-- The company of a user's rows without company: the user's company in the old database, wherever they are here by now.
-- If they have none there, or it was not imported, the rows go to their first company here, as with
-- `app.assign_company`; but rows made in a company of the old database belong to no other one.
insert into old_homes as h (user_id, tenant_id, problem)
select u.id, case when c.id is not null then c.id when (i.id is null or k.id is not null) and coalesce(cardinality(m.companies), 0) < 2 then coalesce(m.companies[1], u.id) end,
  case when c.id is not null then null when i.id is not null and k.id is null then 'its user''s company came over and was deleted here'
    when k.id is not null and m.companies is not null
      then 'its user is in another company there than here: give the user that company here with `ringfence user assign`, and import again'
    when cardinality(m.companies) > 1
      then 'its user has no company there and was in several here: give the user, there, the company to which it belongs' end
from users u left join old_user_companies o on o.user_id = u.id left join companies k on k.id = o.company_id
left join companies c on c.id = k.id and (c.id = u.company_id or exists (select from members b where b.user_id = u.id and b.tenant_id = c.id))
left join ops.imported i on i.table_name = 'companies' and i.id = o.company_id
left join (
  select m.user_id, array_agg(m.tenant_id) as companies from members m join companies d on d.id = m.tenant_id group by 1
) m on m.user_id = u.id
on conflict (user_id) do update set tenant_id = excluded.tenant_id, problem = excluded.problem
