-- Campaigns: one mail to many recipients, each with a state and times of its own (contract: bulk-email-campaigns).
set role ringfence_owner;

create table campaigns (
  id               uuid primary key default app.uuid_v7(),
  tenant_id        uuid not null,
  company_id       uuid,
  user_id          uuid not null,
  campaign_name    text not null check (length(campaign_name) <= 255),
  subject          text not null check (length(subject) <= 255),
  body             text not null,  -- plain text
  html_body        text,
  ip_pool          text check (length(ip_pool) <= 50),
  status           text not null check (status in ('draft', 'scheduled', 'sending', 'sent', 'failed')),
  error_message    text check (length(error_message) <= 500),
  scheduled_at     timestamptz,
  sent_at          timestamptz,    -- when sending began
  total_recipients int not null,
  -- Kept by app.count_campaign.
  total_sent       int not null default 0,
  total_delivered  int not null default 0,
  total_opened     int not null default 0,
  total_clicked    int not null default 0,
  total_bounced    int not null default 0,
  is_deleted       boolean not null default false,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now()
);
create index campaigns_feed on campaigns (tenant_id, created_at desc, id desc) include (company_id, user_id, status) where not is_deleted;
select app.protect('campaigns', 'user_id');

create table campaign_recipients (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,
  campaign_id   uuid not null,
  email         text not null check (length(email) <= 255),  -- lower-cased
  state         text not null default 'pending' check (state in ('pending', 'sending', 'sent', 'failed', 'suppressed')),
  attempts      int not null default 0,
  tried_at      timestamptz,  -- when it became `sending`, before the provider was asked
  provider_id   text check (length(provider_id) <= 255),
  error_message text check (length(error_message) <= 500),
  open_count    int not null default 0,
  sent_at       timestamptz,
  delivered_at  timestamptz,
  opened_at     timestamptz,
  clicked_at    timestamptz,
  bounced_at    timestamptz,
  constraint campaign_recipients_campaign_fkey foreign key (tenant_id, campaign_id) references campaigns (tenant_id, id)
    on delete cascade deferrable initially immediate
);
create unique index campaign_recipients_tenant_email_key on campaign_recipients (tenant_id, campaign_id, email) where company_id is not null;
create index campaign_recipients_campaign on campaign_recipients (tenant_id, campaign_id, id);
create index campaign_recipients_open on campaign_recipients (tenant_id, campaign_id, tried_at nulls first, id) where state in ('pending', 'sending');
select app.protect('campaign_recipients', 'user_id');

-- What a campaign's recipients add up to, in the transaction that changes them and once a statement, so that a batch of
-- mails writes the campaign's row once.
create function app.count_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c record;
begin
  for c in select n.tenant_id, n.campaign_id,
      sum((n.state = 'sent')::int - (o.state = 'sent')::int) as sent,
      sum((n.delivered_at is not null)::int - (o.delivered_at is not null)::int) as delivered,
      sum((n.opened_at is not null)::int - (o.opened_at is not null)::int) as opened,
      sum((n.clicked_at is not null)::int - (o.clicked_at is not null)::int) as clicked,
      sum((n.bounced_at is not null)::int - (o.bounced_at is not null)::int) as bounced
    from new_rows n join old_rows o on o.id = n.id group by 1, 2 order by 1, 2 loop
    if (c.sent, c.delivered, c.opened, c.clicked, c.bounced) <> (0, 0, 0, 0, 0) then
      update public.campaigns set total_sent = total_sent + c.sent, total_delivered = total_delivered + c.delivered,
        total_opened = total_opened + c.opened, total_clicked = total_clicked + c.clicked, total_bounced = total_bounced + c.bounced,
        updated_at = now()
      where tenant_id = c.tenant_id and id = c.campaign_id;
    end if;
  end loop;
  return null;
end $$;
create trigger counted after update on campaign_recipients referencing old table as old_rows new table as new_rows
  for each statement execute function app.count_campaign();

-- The job of a campaign comes and goes with it. One whose time was past when it was made waits to be sent by hand.
create function app.follow_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.is_deleted or new.status in ('sent', 'failed') then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'campaign' and j.record_id = new.id;
  elsif new.status = 'sending' or tg_op = 'INSERT' then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'campaign', new.id, case new.status when 'sending' then now() else new.scheduled_at end)
    on conflict (tenant_id, kind, record_id) do update set run_at = excluded.run_at, attempts = 0, failed_at = null;
  end if;
  return null;
end $$;
create trigger follow_new after insert on campaigns for each row
  when (new.company_id is not null and new.status = 'scheduled' and new.scheduled_at > now()) execute function app.follow_campaign();
create trigger follow after update of status, is_deleted on campaigns for each row
  when (new.company_id is not null and (new.status <> old.status or new.is_deleted <> old.is_deleted)) execute function app.follow_campaign();

reset role;
