-- Texts that were already due are not sent; nor are those that nobody could send, or whose user has left.
with judged as (
  select s.n, case when s.scheduled_at <= now() then 'It was due before the import'
    when s.company_id is null then 'It has no company'
    when not exists (select from users u where u.id = s.user_id and u.company_id = s.company_id) then 'Its user has left the company'
    when coalesce(btrim(s.from_address), '') = '' then 'There was no number to send it from' end as reason
  from old_scheduled_sms s where s.problem is null and not s.is_sent and not s.is_cancelled
), changed as (
  update old_scheduled_sms s set is_cancelled = true, from_address = coalesce(s.from_address, ''), error_message = j.reason
  from judged j where j.n = s.n and j.reason is not null
  returning s.id, s.error_message
), filled as (
  update old_scheduled_sms s set from_address = '' where s.from_address is null and (s.is_sent or s.is_cancelled)
)
insert into old_report (table_name, id, action, reason)
select 'scheduled_sms', id, 'changed', 'is not sent: ' || error_message from changed
