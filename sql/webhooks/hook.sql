-- The user to whom incoming mail belongs, if the key is the company's.   $1 SHA-256 of the key
select user_id, verification_key from mail_hooks where key_hash = $1
