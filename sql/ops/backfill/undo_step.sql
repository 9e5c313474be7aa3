select target::text as target, restored, stayed from app.undo_backfill_step()
