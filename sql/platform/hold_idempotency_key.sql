-- $1 id
select app.hold_idempotency_key($1)
