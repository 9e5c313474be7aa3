-- A unique key without the tenant reveals to a company what another one has. The list of global ones may only shrink.
select format('unique index %s of %s does not lead with tenant_id', i.indexrelid::regclass, i.indrelid::regclass) as finding,
  'lead it with tenant_id, and leave out deleted and historical rows' as remedy
from pg_index i
join pg_class c on c.oid = i.indrelid
join pg_attribute t on t.attrelid = i.indrelid and t.attname = 'tenant_id'
where i.indisunique and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
  and i.indkey[0] <> t.attnum
  and not (i.indisprimary and pg_get_indexdef(i.indexrelid, 1, true) = 'id' and i.indnatts = 1)
  and i.indexrelid::regclass::text not in ('invitations_token_key', 'phone_numbers_in_use_key')
order by 1
