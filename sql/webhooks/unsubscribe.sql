-- Suppresses mail to a recipient from now on; may be repeated.   $1 recipient of a campaign
select r.email, (select c.name from companies c) as company
from campaign_recipients r, app.suppress('email', r.email, 'unsubscribe', r.user_id)
where r.id = $1
