-- $1 text, mail or call
with text as (
  update sms_messages set read_at = coalesce(read_at, now()), updated_at = now() where id = $1 returning id
), email as (
  update emails set read_at = coalesce(read_at, now()), updated_at = now() where id = $1 and not is_deleted and status <> 'draft' returning id
), call as (
  update calls set read_at = coalesce(read_at, now()), updated_at = now() where id = $1 returning id
)
select id from text union all select id from email union all select id from call
