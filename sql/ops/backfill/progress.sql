-- Rows that have their company, rows that are still to get one, and those that stay for a unique key.
select (select coalesce(sum(row_count), 0) from app.backfill)::bigint as done,
  (select coalesce(sum(p.row_count), 0) from app.backfill_plan() p where p.problem is null)::bigint as left_over,
  (select count(*) from app.backfill_collision) as collisions
