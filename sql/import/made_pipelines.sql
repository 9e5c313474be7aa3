-- A new company gets a pipeline with its first user. A company that brings its own does not need it, unless somebody
-- has changed or used it.
delete from pipelines p
where p.name = 'Sales Pipeline' and p.updated_at = p.created_at
  and p.company_id in (select s.company_id from old_pipelines s where s.problem is null and not s.is_deleted)
  and exists (select from ops.imported i where i.table_name = 'companies' and i.id = p.company_id)
  and not exists (select from ops.imported i where i.table_name = 'pipelines' and i.id = p.id)
  and not exists (select from pipelines o where o.tenant_id = p.tenant_id and o.id <> p.id)
  and not exists (select from pipeline_stages s where s.tenant_id = p.tenant_id
    and (s.created_at <> p.created_at or s.updated_at <> p.created_at))
  and not exists (select from deals d where d.tenant_id = p.tenant_id)
