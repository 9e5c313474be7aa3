-- What a text was answered with by itself; the answer travels in the reply to the provider.   $1 the text   $2 the answer
insert into sms_messages (direction, status, from_address, to_address, body, contact_id, is_auto_response)
select 'outbound', 'sent', m.to_address, m.from_address, $2, m.contact_id, true from sms_messages m where m.id = $1
returning id
