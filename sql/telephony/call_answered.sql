-- What Twilio answered to a call. Its callback may have come first and stays.
-- $1 call   $2 Twilio's id, or null when it failed   $3 the reason, or null
update calls set twilio_sid = coalesce($2, twilio_sid), error_message = coalesce($3, error_message), updated_at = now(),
  status = case when $2::text is null and status = 'initiated' then 'failed' else status end,
  ended_at = case when $2::text is null then now() else ended_at end
where id = $1
returning id
