-- One at a time of a text that comes twice, and of what a number says to another: what follows in the transaction sees what is
-- there, and what was answered.   $1 Twilio's id   $2 from   $3 to
select true from app.lock_name('sms', $1) text, app.lock_name('sms from', $2::text || ' ' || $3::text) said
