-- No campaign starts by itself after an import: a scheduled one becomes a draft, one in progress has failed.
with changed as (
  update old_campaigns s set status = case s.status when 'scheduled' then 'draft' else 'failed' end
  where s.status in ('scheduled', 'sending')
  returning s.id, s.status
)
insert into old_report (table_name, id, action, reason)
select 'bulk_email_campaigns', id, 'changed', format('was scheduled or under way: %s now, and nothing is sent', status) from changed
