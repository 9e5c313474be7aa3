-- The conversations with the number or the person's texts, unless somebody else has texts in them. Run while the texts
-- exist.
-- $1 tenant   $2 contact   $3 number, in E.164
select c.id from conversations c
where c.tenant_id = $1
  and (app.e164(c.to_number) = $3 or c.id in (select s.conversation_id from sms_messages s
    where s.tenant_id = $1 and s.id in (select t from ops.texts_of_person($1, $2, $3) t)))
  and not exists (select from sms_messages s
    where s.tenant_id = $1 and s.conversation_id = c.id and s.id not in (select t from ops.texts_of_person($1, $2, $3) t))
