-- A deal of a user without company is left out once the backfill of pipelines is finished: its pipeline would be
-- historical.
update old_deals s set problem = 'its user has no company, and the backfill of pipelines is finished'
where s.problem is null and s.company_id is null and s.tenant_id = s.owner_id
  and exists (select from pg_attribute a where a.attrelid in ('pipelines'::regclass, 'pipeline_stages'::regclass) and a.attname = 'company_id' and a.attnotnull)
