-- The carrier reports an opt-out: it belongs to the sender of the text, or, if that is deleted, to the user who entered
-- the account.
-- $1 Twilio's id of the text   $2 number
select true
from twilio_settings s, app.suppress('sms', $2, 'provider',
  coalesce((select m.user_id from sms_messages m where m.twilio_sid = $1 limit 1), s.user_id))
where s.company_id is not null and app.suppressed_form('sms', $2) <> ''
