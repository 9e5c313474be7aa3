-- A call that the provider never accepted has failed.
with changed as (
  update old_calls s set status = 'failed', error_message = coalesce(s.error_message, 'It was never handed to the provider')
  where s.direction = 'outbound' and s.status = 'initiated' and s.twilio_sid is null
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'calls', id, 'changed', 'was initiated and never taken by the provider: failed now' from changed
