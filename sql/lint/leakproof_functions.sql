-- A leakproof function sees rows before the policy is applied: only audited functions of PostgreSQL itself may be
-- marked so.
select format('function %s is marked leakproof', p.oid::regprocedure) as finding, 'alter it: not leakproof' as remedy
from pg_proc p
where p.proleakproof and p.pronamespace <> 'pg_catalog'::regnamespace
  and not (p.oid::regprocedure::text = 'leakproof."ilike"(text,text)' and p.prosrc = 'texticlike')
  and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
order by 1
