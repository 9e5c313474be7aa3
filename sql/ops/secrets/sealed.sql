-- Every value sealed (src/seal.rs) under another key than this one: where it is stored, and what it is bound to.
-- $1 id of the key   $2 what a request with a key is bound to besides its id   $3 the same for its response
select place, id, field, sealed from (
  select 0, company_id, name, sealed from app.company_secrets
  union all select 1, id, $2::text, request from app.idempotency_keys
  union all select 2, id, $3::text, body from app.idempotency_keys where body is not null
) as kept (place, id, field, sealed)
where substr(sealed, 1, 4) <> $1::bytea
