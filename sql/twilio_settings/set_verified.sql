-- Changes nothing if account or token have changed meanwhile.
-- $1 whether Twilio knows the account   $2 its SID   $3 its sealed token
update twilio_settings set is_verified = $1, last_verified_at = case when $1 then now() else last_verified_at end, updated_at = now()
where company_id is not null and account_sid = $2 and $3 = (select k.sealed from app.company_secret('twilio_auth_token') as k (sealed))
returning id
