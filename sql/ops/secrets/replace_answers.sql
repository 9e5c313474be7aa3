-- Skips a request in progress, whose row is locked: the next round finds it.
-- $1 ids   $2 what they are bound to   $3 sealed before   $4 sealed anew
update app.idempotency_keys k set body = n.sealed
from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[]) as n (id, field, was, sealed)
where k.id = n.id and k.body = n.was
  and k.id in (select l.id from app.idempotency_keys l where l.id = any ($1) for update skip locked)
