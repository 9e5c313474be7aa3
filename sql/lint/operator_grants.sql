-- Grants of companies to operators who were not removed by app.remove_operator: nobody has them now, neither a new
-- operator of that name nor one whose login was renamed.
select format('%s of the operator %s %s of a login that is gone or has another name', case companies when 1 then 'the company' else companies || ' companies' end,
    db_role, case companies when 1 then 'is' else 'are' end) as finding,
  format('for the same person: ringfence operator grant; otherwise: delete from app.operator_grant where db_role = %L and role_oid = %s', db_role, role_oid) as remedy
from app.lost_grants() order by 1
