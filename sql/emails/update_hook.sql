-- $1 SendGrid's public key, or null
update mail_hooks set verification_key = $1, updated_at = now() returning created_at, updated_at, verification_key
