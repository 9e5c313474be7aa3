-- $1 id for the new one   $2 route   $3 key   $4 what is asked, sealed
select holder, request, status, content_type, body from app.take_idempotency_key($1, $2, $3, $4, false)
