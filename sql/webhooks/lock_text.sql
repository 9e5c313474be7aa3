-- One at a time of a text that comes twice: what follows in the transaction sees whether it is there.   $1 Twilio's id
select true from app.lock_name('sms', $1)
