-- $1 id
select app.release_idempotency_key($1)
