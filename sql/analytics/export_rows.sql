-- A part of the deals for the CSV export, in order of creation.
-- $1 first day   $2 last day   $3 owner   $4 pipeline: each null for all
-- $5, $6 when the last one of the part before was made, and its id   $7 how many
with p as materialized (
  select * from app.period($1, $2)
)
select d.id, d.created_at, d.title, '$' || to_char(d.value, 'FM9,999,999,999,999,990.00') as value, d.status,
  (select s.name from pipeline_stages s where s.id = d.stage_id) as stage, to_char(d.created_at at time zone (select p.zone from p), 'YYYY-MM-DD') as created,
  to_char(d.actual_close_date at time zone (select p.zone from p), 'YYYY-MM-DD') as closed, d.company
-- Not joined with the period: PostgreSQL does not know that it is one row, and would sort the deals.
from deals d
where not d.is_deleted and d.created_at >= (select p.starts from p) and d.created_at < (select p.ends from p) and (d.created_at, d.id) > ($5, $6)
  and ($3::uuid is null or d.owner_id = $3) and ($4::uuid is null or d.pipeline_id = $4)
order by d.created_at, d.id limit $7
