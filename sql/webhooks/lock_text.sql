-- Serializes duplicates of a text, and texts from one number to another: what follows in the transaction sees earlier
-- texts and their replies.   $1 Twilio's id   $2 from   $3 to
select true from app.lock_name('sms', $1) text, app.lock_name('sms from', $2::text || ' ' || $3::text) said
