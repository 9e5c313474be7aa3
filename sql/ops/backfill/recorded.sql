-- The rows that `undo` would make historical again.
select coalesce(sum(cardinality(ids)), 0)::bigint from app.backfill_batch
