-- Campaigns that fail while mails are under way, the jobs of a company that is opened again, and reset codes that no longer count.
set role ringfence_owner;

-- As in V0084, but a campaign that fails keeps its job while some of its recipients are being sent to: the job closes them
-- (sql/jobs/campaign_begin.sql) and goes then.
create or replace function app.follow_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.is_deleted or new.status = 'sent' or new.status = 'failed'
      and not exists (select from public.campaign_recipients r where r.campaign_id = new.id and r.state = 'sending') then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'campaign' and j.record_id = new.id;
  elsif new.status = 'sending' or new.status = 'scheduled' and new.scheduled_at is not null then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'campaign', new.id, case new.status when 'sending' then now() else new.scheduled_at end)
    on conflict (tenant_id, kind, record_id) do update set user_id = excluded.user_id, run_at = excluded.run_at, attempts = 0, failed_at = null;
  end if;
  return null;
end $$;

reset role;
