-- Moves a call forward; nothing when the company has no such call.
-- $1 the call that the address names, or null   $2 Twilio's id   $3 status   $4 seconds, or null   $5 recording, or null
with call as (
  select id from calls where twilio_sid = $2 or (id = $1 and twilio_sid is null and direction = 'outbound') limit 1
), moved as (
  update calls c set twilio_sid = $2, duration = coalesce($4, c.duration), recording_url = coalesce($5, c.recording_url), updated_at = now(),
    status = case when app.call_rank($3) > app.call_rank(c.status) then $3 else c.status end,
    ended_at = case when app.call_rank($3) = 3 then coalesce(c.ended_at, now()) else c.ended_at end
  from call where c.id = call.id
)
select id from call
