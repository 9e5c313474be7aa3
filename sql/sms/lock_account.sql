-- Holds the company's settings, if they are still of this account.   $1 its SID
select id from twilio_settings where account_sid = $1 and company_id is not null for no key update
