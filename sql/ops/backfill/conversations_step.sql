select texts, is_done from app.backfill_conversations_step()
