-- The company's key for SendGrid, if it has one.
select created_at, updated_at, verification_key from mail_hooks
