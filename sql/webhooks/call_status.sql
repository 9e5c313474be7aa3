-- Moves a call forward; no row if the company has no such call. A call whose response never came counts as failed until
-- its first callback, which shows that Twilio made it.
-- $1 the call that the address names, or null   $2 Twilio's id   $3 status   $4 seconds, or null
-- $5 recording, or null
with call as materialized (
  select id, twilio_sid is null and status = 'failed' as is_news from calls
  where twilio_sid = $2 or (id = $1 and twilio_sid is null and direction = 'outbound')
  limit 1 for no key update
), moved as (
  update calls c set twilio_sid = $2, duration = coalesce($4, c.duration), recording_url = coalesce($5, c.recording_url), updated_at = now(),
    status = case when app.call_rank($3) > app.call_rank(c.status) or call.is_news then $3 else c.status end,
    error_message = case when not call.is_news then c.error_message end,
    ended_at = coalesce(case when app.call_rank(c.status) = 3 and not call.is_news then c.ended_at end, case when app.call_rank($3) = 3 then now() end)
  from call where c.id = call.id
)
select id from call
