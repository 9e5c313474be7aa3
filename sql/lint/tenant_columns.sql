-- Protected tables that lost a part of app.protect: a default, a constraint, or the foreign key to the owner.
with part as (
  select p.polrelid as target, c.relname,
    (select count(*) from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = p.polrelid and (a.attname, pg_get_expr(d.adbin, d.adrelid))
       in (('tenant_id', 'app.company_id()'), ('company_id', 'app.company_id()'))) = 2 as has_defaults,
    exists (select from pg_attribute a where a.attrelid = p.polrelid and a.attname = 'tenant_id' and a.attnotnull) as has_tenant,
    exists (select from pg_constraint k where k.conrelid = p.polrelid and k.contype = 'c'
      and pg_get_constraintdef(k.oid) = 'CHECK (((company_id IS NULL) OR (company_id = tenant_id)))') as has_check,
    exists (select from pg_constraint k where k.conrelid = p.polrelid
      and pg_get_constraintdef(k.oid) in ('UNIQUE (tenant_id, id)', 'PRIMARY KEY (tenant_id, id)')) as has_key,
    exists (select from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[2]
      where k.conrelid = p.polrelid and k.contype = 'f' and k.conname = coalesce(w.relname, c.relname) || '_member_fkey'
        and k.confrelid = 'public.members'::regclass and a.attnotnull) as has_owner
  from pg_policy p join pg_class c on c.oid = p.polrelid
  -- A partition has the constraints of its table.
  left join pg_inherits i on i.inhrelid = c.oid left join pg_class w on w.oid = i.inhparent
  where p.polname = 'tenant'
)
select format('%s lacks %s', target::regclass, concat_ws(', ',
    case when not has_defaults then 'the defaults of tenant_id and company_id' end,
    case when not has_tenant then 'not null on tenant_id' end,
    case when not has_check then 'the check of company_id against tenant_id' end,
    case when not has_key then 'unique (tenant_id, id)' end,
    case when not has_owner then 'the key of its owner to members' end)) as finding,
  'restore what app.protect makes' as remedy
from part where not (has_defaults and has_tenant and has_check and has_key and has_owner)
order by 1
