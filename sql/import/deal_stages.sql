-- A deal is in a stage of its own company. One in another company's stage moves to the stage of the same name in the
-- default pipeline, or to that pipeline's first stage.
with own as (
  select s.n, p.id as stage_id, p.pipeline_id
  from old_deals s join pipeline_stages p on p.id = s.stage_id and p.tenant_id = s.tenant_id
), other as (
  select s.n, o.id as stage_id, o.pipeline_id
  from old_deals s left join lateral (
    select g.id, g.pipeline_id from pipelines p join pipeline_stages g on g.tenant_id = p.tenant_id and g.pipeline_id = p.id
    where p.tenant_id = s.tenant_id and not p.is_deleted and not g.is_deleted and (p.company_id is not null or p.owner_id = s.owner_id)
    order by p.is_default desc, p.order_index, p.created_at, p.id, (lower(g.name) = lower(s.stage_name)) desc nulls last, g.order_index, g.id limit 1
  ) o on true
  where s.problem is null and not exists (select from own where own.n = s.n)
), changed as (
  update old_deals s set stage_id = coalesce(o.stage_id, s.stage_id), pipeline_id = coalesce(o.pipeline_id, s.pipeline_id),
    problem = case when o.stage_id is null then 'its stage did not come over, and the company has no other' end
  from (select own.*, false as is_moved from own union all select other.*, true from other) o
  where o.n = s.n and s.problem is null and (o.is_moved or s.pipeline_id <> o.pipeline_id)
  returning s.id, o.is_moved, o.stage_id is null as is_lost
)
insert into old_report (table_name, id, action, reason)
select 'deals', id, 'detached', case when is_moved then 'its stage is another company''s or did not come over: it is in the default pipeline now'
  else 'its pipeline was not the one of its stage' end
from changed where not is_lost
