-- The sender of the company's mail, if it has one, and the caller's own address. None when the caller has left or moved.
select (select app.company_id()) as company_id,
  (select s.sendgrid_from_email from twilio_settings s where s.is_active and s.company_id is not null) as from_email, u.email as own_email
from users u where u.id = (select app.user_id()) and not u.is_deleted
