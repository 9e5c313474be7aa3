-- Foreign keys are checked outside row-level security: unless they contain the tenant, a row can refer to another
-- company's, probe for it, and be deleted with it. They are deferrable so that app.assign_company can move rows. A
-- user's tenant is the column company_id.
select format('foreign key %s of %s %s', k.conname, k.conrelid::regclass,
    case when own.attname <> case k.conrelid when 'public.users'::regclass then 'company_id' else 'tenant_id' end or other.attname <> 'tenant_id'
        then 'does not lead with tenant_id on both sides'
      when not k.condeferrable then 'is not deferrable'
      else 'is not validated' end) as finding,
  'make it: foreign key (tenant_id, …_id) references … (tenant_id, id) deferrable initially immediate' as remedy
from pg_constraint k
join pg_attribute own on own.attrelid = k.conrelid and own.attnum = k.conkey[1]
join pg_attribute other on other.attrelid = k.confrelid and other.attnum = k.confkey[1]
where k.contype = 'f' and k.conrelid::regclass::text || '.' || k.conname <> 'members.members_user_id_fkey'
  -- One of the two tables has rows of companies.
  and exists (select from pg_attribute t where t.attrelid in (k.conrelid, k.confrelid) and t.attname = 'tenant_id')
  and (own.attname <> case k.conrelid when 'public.users'::regclass then 'company_id' else 'tenant_id' end
    or other.attname <> 'tenant_id' or not k.condeferrable or not k.convalidated)
order by 1
