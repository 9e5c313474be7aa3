-- The carrier knows that a number has opted out.   $1 Twilio's id of the text   $2 number
insert into suppressions (channel, address, reason, user_id)
select 'sms', $2, 'provider', m.user_id from sms_messages m where m.twilio_sid = $1 and app.suppressed_form('sms', $2) <> ''
on conflict (tenant_id, channel, address) where company_id is not null do nothing
returning id
