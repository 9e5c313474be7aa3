-- Records Twilio's response to a call. The callback, which names the call's id, may have come first and takes
-- precedence.
-- $1 call   $2 Twilio's id, or null when it failed   $3 the reason, or null
update calls set twilio_sid = coalesce($2, twilio_sid), updated_at = now(),
  status = case when coalesce($2, twilio_sid) is null then 'failed' else status end,
  error_message = case when coalesce($2, twilio_sid) is null then $3 else error_message end,
  ended_at = case when coalesce($2, twilio_sid) is null then now() else ended_at end
where id = $1
returning id
