select f.id, f.tenant_id from files f join ops.imported i on i.table_name = 'files' and i.id = f.id
where f.object_key is null
order by f.tenant_id, f.id
