-- The conversation with a number; a new one gets the next number in rotation. If its number is no longer the company's,
-- the conversation continues with another one before a text is sent.   $1 to   $2 whether something is to be sent
with existing as (
  update conversations c set last_message_at = now(), updated_at = now(),
    from_twilio_number = case when not $2 then c.from_twilio_number
      else coalesce((app.find_sender(c.from_twilio_number, false, false)).number, (app.sender(null, true, false)).number) end
  where to_number = $1 and not is_deleted and company_id is not null
  returning id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, message_count, unread_count
), next as (
  select id, phone_number from phone_numbers
  where is_active and not is_deleted and rotation_enabled and company_id is not null and not exists (select from existing)
  order by rotation_priority desc, last_used_at nulls first, created_at, id
  limit 1
), used as (
  update phone_numbers set last_used_at = now(), updated_at = now() where id = (select id from next)
), added as (
  insert into conversations (to_number, from_twilio_number) select $1, phone_number from next
  on conflict (tenant_id, to_number) where not is_deleted and company_id is not null do update set last_message_at = now()
  returning id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, message_count, unread_count
)
select * from existing union all select * from added
