-- $1 rows
select target::text as target, moved, is_done from app.backfill_step($1)
