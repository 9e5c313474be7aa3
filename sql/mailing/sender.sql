-- The sender of the company's mail, if it has one, whether it is switched off, and the caller's own address. No row if
-- the caller has left or moved.
select (select app.company_id()) as company_id, s.sendgrid_from_email as from_email, coalesce(not s.is_active, false) as is_off, u.email as own_email
from users u left join twilio_settings s on s.company_id is not null
where u.id = (select app.user_id()) and not u.is_deleted
