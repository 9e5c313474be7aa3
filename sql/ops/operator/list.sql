-- The operators who have, or had, a company in this database. Manually:
--   select app.add_operator('alice', array['Acme']);   \password alice   select app.remove_operator('alice');
select g.db_role::text as name, pg_has_role(g.db_role, 'ringfence_operator_write', 'member') as writes,
  pg_has_role(g.db_role, 'ringfence_operator', 'member') as personal_data,
  (select count(*) from pg_stat_activity a where a.usename = g.db_role and a.datname = current_database()) as connections,
  coalesce(array_agg(c.id order by c.name, c.id) filter (where c.id is not null), '{}') as ids,
  coalesce(array_agg(c.name order by c.name, c.id) filter (where c.id is not null), '{}') as names,
  bool_or(g.granted_company_id is null) as lost_one
from app.operator_grant g
left join companies c on c.id = g.granted_company_id
join pg_roles r on r.oid = g.role_oid and r.rolname = g.db_role
group by g.db_role order by g.db_role
