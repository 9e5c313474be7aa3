-- Since when a mail or text is tried, and in whose name a campaign goes on.
set role ringfence_owner;

-- Since when the mail server has deferred a recipient.
alter table campaign_recipients add column deferred_since timestamptz;
grant update (deferred_since) on campaign_recipients to ringfence_api;

-- When it first left, or would have: after quiet hours, a suspension and whatever else it waited for.
alter table scheduled_sms add column first_tried_at timestamptz;
grant update (first_tried_at) on scheduled_sms to ringfence_api;

-- As in V0069, and the job is in the name of who sends the campaign now.
create or replace function app.follow_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.is_deleted or new.status in ('sent', 'failed') then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'campaign' and j.record_id = new.id;
  elsif new.status = 'sending' or new.status = 'scheduled' and new.scheduled_at is not null then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'campaign', new.id, case new.status when 'sending' then now() else new.scheduled_at end)
    on conflict (tenant_id, kind, record_id) do update set user_id = excluded.user_id, run_at = excluded.run_at, attempts = 0, failed_at = null;
  end if;
  return null;
end $$;
create or replace trigger follow after update of user_id, status, is_deleted on campaigns for each row
  when (new.company_id is not null and (new.user_id <> old.user_id or new.status <> old.status or new.is_deleted <> old.is_deleted))
  execute function app.follow_campaign();

reset role;
