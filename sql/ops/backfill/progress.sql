-- Rows that are still to get their company, those that stay for a unique key, and whether a table is under way.
select (select coalesce(sum(p.row_count), 0) from app.backfill_plan() p where p.problem is null)::bigint as left_over,
  (select count(*) from app.backfill_collision) as collisions,
  exists (select from app.backfill where finished_at is null) as is_under_way
