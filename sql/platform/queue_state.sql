select due, seconds from app.queue_state()
