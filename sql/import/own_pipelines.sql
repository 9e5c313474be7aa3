-- A user without company is in no company's pipeline: their deals get a pipeline of their own, with the stages they are
-- in. Its ids are derived from the user's, so that the next run finds it.
with homeless as (
  select s.n, s.tenant_id, s.owner_id, s.stage, m.pipeline_id, m.name, md5(m.pipeline_id || m.name)::uuid as stage_id
  from old_deals s
  cross join lateral (select md5('pipeline of ' || s.owner_id)::uuid as pipeline_id, left(coalesce(nullif(btrim(s.stage_name), ''), 'Lead'), 255) as name) m
  where s.problem is null and s.company_id is null and s.tenant_id = s.owner_id
    -- A user who has got a company since would leave the pipeline behind.
    and exists (select from users u where u.id = s.owner_id and u.company_id is null)
    and not exists (select from pipeline_stages p where p.id = s.stage_id and p.tenant_id = s.tenant_id)
    and not exists (select from pipelines p where p.id = m.pipeline_id and p.tenant_id <> s.tenant_id)
), pipeline as (
  insert into pipelines (id, tenant_id, company_id, owner_id, name)
  select distinct h.pipeline_id, h.tenant_id, null::uuid, h.owner_id, 'Sales Pipeline' from homeless h
  on conflict do nothing
), stage as (
  insert into pipeline_stages (id, tenant_id, company_id, owner_id, pipeline_id, name, order_index, probability, is_closed, is_won)
  select distinct on (h.stage_id) h.stage_id, h.tenant_id, null::uuid, h.owner_id, h.pipeline_id, h.name, coalesce((h.stage ->> 'place')::int, 0),
    case when (h.stage ->> 'probability')::float8 between 0 and 100 then (h.stage ->> 'probability')::float8 else 0 end,
    coalesce((h.stage ->> 'is_closed')::boolean, false), coalesce((h.stage ->> 'is_won')::boolean, false)
  from homeless h order by h.stage_id, h.n
  on conflict do nothing
), moved as (
  update old_deals s set pipeline_id = h.pipeline_id, stage_id = h.stage_id from homeless h where h.n = s.n returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'deals', id, 'detached', 'its user has no company: it is in a pipeline of the user''s own now, in a stage of the same name' from moved
