-- Deletes a call, and returns whether it did: a call for which the provider is being asked stays, as in inbox/delete.
-- $1 id
with deleted as (
  delete from calls
  where id = $1 and not (direction = 'outbound' and status = 'initiated' and twilio_sid is null and created_at > now() - interval '5 minutes')
  returning id
)
select exists (select from deleted) as is_deleted from calls where id = $1
