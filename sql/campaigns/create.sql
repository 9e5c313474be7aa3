-- A campaign with its recipients; no row if its time has passed by the database's clock, which also schedules its job.
-- $1 name   $2 subject   $3 text   $4 HTML, or null   $5 IP pool, or null   $6 when, or null
-- $7 addresses, lower-cased and each once   $8 the ids of their rows, in whose order they are listed and sent to
with campaign as (
  insert into campaigns (campaign_name, subject, body, html_body, ip_pool, scheduled_at, status, total_recipients)
  select $1, $2, $3, $4, $5, $6, case when $6::timestamptz is null then 'draft' else 'scheduled' end, cardinality($7::text[])
  where coalesce($6 > now(), true)
  returning id, campaign_name, subject, status, scheduled_at, sent_at, total_recipients, total_sent, total_delivered, total_opened,
  total_clicked, total_bounced, error_message, created_at
), recipient as (
  insert into campaign_recipients (id, campaign_id, email)
  select a.id, c.id, a.address from campaign c, unnest($7::text[], $8::uuid[]) a (address, id)
)
select id, campaign_name, subject, status, scheduled_at, sent_at, total_recipients, total_sent, total_delivered, total_opened,
  total_clicked, total_bounced, error_message, created_at
from campaign
