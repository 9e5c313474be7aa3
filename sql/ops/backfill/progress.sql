-- Recorded rows that have not got their company yet, rows left out for a unique key, and whether a table is in
-- progress.
with under_way as (
  select distinct b.target from app.backfill b where b.finished_at is null
)
select greatest(0, (select coalesce(sum(b.row_count), 0) from app.backfill_before b join under_way using (target))
    - (select coalesce(sum(cardinality(b.ids)), 0) from app.backfill_batch b join under_way using (target)))::bigint as left_over,
  (select count(*) from app.backfill_collision) as collisions,
  exists (select from under_way) as is_under_way
