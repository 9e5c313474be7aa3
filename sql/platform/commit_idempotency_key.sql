-- $1 id
select app.commit_idempotency_key($1)
