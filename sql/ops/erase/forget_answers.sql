-- Deletes stored responses, which may be about anybody: the idempotency keys stay taken.
-- $1 tenants
update app.idempotency_keys set body = null, status = null, content_type = null where tenant_id = any ($1) and status is not null
