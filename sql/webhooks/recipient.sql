-- The recipient who unsubscribes, and the sender.   $1 recipient of a campaign
select r.email, (select c.name from companies c) as company from campaign_recipients r where r.id = $1
