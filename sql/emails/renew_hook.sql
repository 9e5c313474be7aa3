-- Creates or replaces the company's key; incoming mail belongs to the user who did this.   $1 SHA-256 of the key
insert into mail_hooks (key_hash) values ($1)
on conflict (tenant_id) where company_id is not null do update set key_hash = $1, user_id = excluded.user_id, updated_at = now()
returning created_at, updated_at, verification_key
