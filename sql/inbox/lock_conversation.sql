-- In a statement of its own: the next one sees the texts for which this one has waited.   $1 a text of the conversation
select c.id from conversations c where c.id = (select m.conversation_id from sms_messages m where m.id = $1) for no key update
