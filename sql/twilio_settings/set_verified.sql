-- $1 whether Twilio knows the account
update twilio_settings set is_verified = $1, last_verified_at = case when $1 then now() else last_verified_at end, updated_at = now()
where company_id is not null
returning id
