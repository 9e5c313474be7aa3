-- Makes the company's numbers those of its account. A number that another company goes on using is added as inactive. A
-- number that was switched off with the company's settings is switched on again, unless another company goes on using
-- it. The caller's historical number is replaced by the company's.
-- $1 the account's numbers: [{sid, phone_number, friendly_name, capabilities: {sms, voice, mms}}]
-- $2 those that others go on with
with given as (
  select distinct on (g.phone_number) g.phone_number, g.sid, left(g.friendly_name, 255) as friendly_name,
    coalesce((g.capabilities ->> 'sms')::boolean, false) as sms, coalesce((g.capabilities ->> 'voice')::boolean, false) as voice,
    coalesce((g.capabilities ->> 'mms')::boolean, false) as mms
  from jsonb_to_recordset($1) as g (sid text, phone_number text, friendly_name text, capabilities jsonb)
  where length(g.phone_number) <= 20 and length(g.sid) <= 100
  order by g.phone_number
), updated as (
  update phone_numbers n set friendly_name = g.friendly_name, twilio_sid = g.sid, sms_enabled = g.sms, voice_enabled = g.voice,
    mms_enabled = g.mms, is_active = n.is_active or n.detached_from is not null and n.phone_number <> all ($2),
    detached_from = case when n.phone_number = any ($2) then n.detached_from end, updated_at = now()
  from given g where n.phone_number = g.phone_number and not n.is_deleted and n.company_id is not null
  returning n.phone_number
), removed as (
  update phone_numbers n set is_deleted = true, updated_at = now()
  where not n.is_deleted and (n.company_id is null) = (n.phone_number in (select g.phone_number from given g))
  returning n.company_id
), added as (
  insert into phone_numbers (phone_number, friendly_name, twilio_sid, sms_enabled, voice_enabled, mms_enabled, is_active)
  select g.phone_number, g.friendly_name, g.sid, g.sms, g.voice, g.mms,
    g.phone_number <> all ($2)
  from given g where g.phone_number not in (select u.phone_number from updated u)
  -- The number may be being added by another request.
  on conflict do nothing
  returning id
)
select true as success, (select count(*) from given) as total_twilio, (select count(*) from added) as added,
  (select count(*) from updated) as updated, (select count(*) from removed where company_id is not null) as removed
