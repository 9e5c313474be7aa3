-- Stores a call that came in to one of the company's numbers; nothing when it is stored already. One that is only told
-- of at its end began before it.
-- $1 Twilio's id   $2 from   $3 to   $4 status   $5 seconds, or null   $6 recording, or null
insert into calls (direction, status, from_address, to_address, twilio_sid, duration, recording_url, started_at, created_at, ended_at, contact_id)
select 'inbound', $4, $2, $3, $1, coalesce($5, 0), $6, w.began, w.began, case when app.call_rank($4) = 3 then now() end,
  app.contact_of_number($2)
from (select now() - case when app.call_rank($4) = 3 then make_interval(secs => coalesce($5, 0)) else '0' end) w (began)
where exists (select from phone_numbers n where n.phone_number = $3 and not n.is_deleted and n.company_id is not null)
  or exists (select from twilio_settings s where s.phone_number = $3 and s.company_id is not null)
on conflict (tenant_id, twilio_sid) where company_id is not null do nothing
returning id
