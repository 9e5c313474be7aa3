-- $1 id for a new key   $2 route   $3 key   $4 the request, sealed
select holder, request, status, content_type, body from app.take_idempotency_key($1, $2, $3, $4, false)
