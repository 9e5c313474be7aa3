-- $1 text, mail or call
with text as (
  delete from sms_messages where id = $1 returning id
), email as (
  delete from emails where id = $1 and not is_deleted and status <> 'draft' returning id
), call as (
  delete from calls where id = $1 returning id
)
select id from text union all select id from email union all select id from call
