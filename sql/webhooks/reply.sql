-- Stores the automatic reply to a text, which is sent in the response to the provider.   $1 the text   $2 the reply
insert into sms_messages (direction, status, from_address, to_address, body, contact_id, is_auto_response)
select 'outbound', 'sent', m.to_address, m.from_address, $2, m.contact_id, true from sms_messages m where m.id = $1
returning id
