-- Begins or goes on with a campaign, and closes what a dead worker was sending: whom nobody has written down for so
-- long that nobody will. One whose author is not in the company any more leaves in the name of an admin. One that could
-- not begin within a day of its time, as during a suspension of the company, fails.
-- $1 job   $2 campaign   $3 for how long an answer may still be written down, in seconds
with closed as (
  update campaign_recipients set state = case when delivered_at is null then 'failed' else 'sent' end, sent_at = delivered_at,
    error_message = case when delivered_at is null then 'The server stopped while it was sent: it may have arrived' end
  where campaign_id = $2 and state = 'sending' and tried_at <= now() - make_interval(secs => $3)
), late as (
  update campaigns set status = 'failed', error_message = 'It could not begin within a day of its time: send it if it is still wanted',
    updated_at = now()
  where id = $2 and not is_deleted and status = 'scheduled' and scheduled_at < now() - interval '1 day'
), begun as (
  update campaigns set status = 'sending', sent_at = coalesce(sent_at, now()), updated_at = now(),
    user_id = coalesce((
      select u.id from users u where u.company_id = (select app.company_id()) and not u.is_deleted
        and (u.id = campaigns.user_id or u.status = 'active' and u.is_active)
      order by u.id = campaigns.user_id desc, app.is_team_admin(u.user_role) desc, u.created_at, u.id limit 1), user_id)
  where id = $2 and not is_deleted and (status = 'sending' or status = 'scheduled' and scheduled_at between now() - interval '1 day' and now())
  returning id, company_id, user_id, subject, body, html_body, ip_pool
), early as (
  -- The clock was set back.
  update jobs j set run_at = c.scheduled_at from campaigns c
  where j.id = $1 and c.id = $2 and not c.is_deleted and c.status = 'scheduled' and c.scheduled_at > now()
  returning j.id
), doubtful as (
  -- Some responses may still be recorded; when the job runs again, the others are closed.
  update jobs j set run_at = now() + make_interval(secs => $3)
  where j.id = $1 and not exists (select from begun) and not exists (select from early) and exists (
    select from campaign_recipients r where r.campaign_id = $2 and r.state = 'sending' and r.tried_at > now() - make_interval(secs => $3))
  returning j.id
), over as (
  delete from jobs where id = $1 and not exists (select from begun) and not exists (select from early) and not exists (select from doubtful)
)
select id, company_id, user_id, subject, body, html_body, ip_pool from begun
