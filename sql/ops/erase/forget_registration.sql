-- Removes from a company the contact details that this person registered it with. Returns whether it had them.
-- $1 company   $2 address, lower-cased   $3 number, in E.164   $4 false to change nothing
with found as (
  select c.id, ops.bare_address(c.email) = $2 as has_email, $3 = app.e164(c.phone) as has_phone
  from companies c
  where c.id = $1
), cleared as (
  update companies c set email = case when not coalesce(has_email, false) then c.email end, phone = case when not coalesce(has_phone, false) then c.phone end
  from found where $4 and (has_email or has_phone) and c.id = found.id
)
select id from found where has_email or has_phone
