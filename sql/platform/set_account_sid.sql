-- $1 the company   $2 the SID of its Twilio account
select app.set_account_sid($1, $2)
