-- No mail is sent by itself after an import.
with changed as (
  update old_emails s set status = case when s.provider_id is null and s.sent_at is null then 'draft' else 'sent' end
  where s.status = 'scheduled'
  returning s.id, s.status
)
insert into old_report (table_name, id, action, reason)
select 'emails', id, 'changed', format('was scheduled: %s now, and nothing is sent', status) from changed
