-- A company has one default pipeline: the existing one here, or else the first.
with ranked as (
  select s.n, row_number() over (partition by s.company_id order by s.order_index, s.n) as place,
    exists (select from pipelines p where p.tenant_id = s.company_id and p.company_id is not null and p.is_default and not p.is_deleted) as is_taken
  from old_pipelines s where s.problem is null and s.is_default and not s.is_deleted
), changed as (
  update old_pipelines s set is_default = false from ranked r
  where r.n = s.n and (s.company_id is null or r.place > 1 or r.is_taken)
  returning s.id, s.company_id
)
insert into old_report (table_name, id, action, reason)
select 'pipelines', id, 'changed', case when company_id is null then 'it is no company''s, so it is no default' else 'another pipeline is the company''s default' end
from changed
