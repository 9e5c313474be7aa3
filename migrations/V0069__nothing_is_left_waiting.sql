-- Campaigns that were scheduled after they were made, and texts to somebody who opts out at that moment.
set role ringfence_owner;

-- As in V0015, also for a campaign that gets its time later, such as one that was imported.
create or replace function app.follow_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.is_deleted or new.status in ('sent', 'failed') then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'campaign' and j.record_id = new.id;
  elsif new.status = 'sending' or new.status = 'scheduled' and new.scheduled_at is not null then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'campaign', new.id, case new.status when 'sending' then now() else new.scheduled_at end)
    on conflict (tenant_id, kind, record_id) do update set run_at = excluded.run_at, attempts = 0, failed_at = null;
  end if;
  return null;
end $$;

-- As in V0013, but who has opted out is looked up last.
create or replace function app.keep_message() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  quiet timestamptz;
  customer text := case new.direction when 'inbound' then new.from_address else new.to_address end;
  own text := case new.direction when 'inbound' then new.to_address else new.from_address end;
  state text;
begin
  insert into public.conversations as c (tenant_id, company_id, user_id, to_number, from_twilio_number, last_message_at, message_count, unread_count)
  values (new.tenant_id, new.company_id, new.user_id, customer, own, new.created_at, 1, (new.direction = 'inbound' and new.read_at is null)::int)
  on conflict (tenant_id, to_number) where not is_deleted and company_id is not null do update set
    message_count = c.message_count + 1, unread_count = c.unread_count + excluded.unread_count,
    last_message_at = greatest(c.last_message_at, excluded.last_message_at), updated_at = now()
  returning c.id, c.conversation_status into new.conversation_id, state;
  if new.direction = 'outbound' and new.status = 'queued' then
    -- Only now: whoever says STOP holds the conversation, and was waited for.
    if app.is_suppressed('sms', customer) then
      raise sqlstate 'RF400' using message = 'This number has opted out of text messages';
    end if;
    if state = 'blocked' then
      raise sqlstate 'RF400' using message = 'The conversation with this number is blocked';
    end if;
    quiet := app.quiet_until(customer);
    if quiet is not null then
      raise sqlstate 'RF400' using message = format('It is night for this number: schedule the message for after %s UTC', to_char(quiet at time zone 'UTC', 'YYYY-MM-DD HH24:MI'));
    end if;
  end if;
  return new;
end $$;

reset role;

insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
select c.tenant_id, c.company_id, c.user_id, 'campaign', c.id, c.scheduled_at from campaigns c
where c.company_id is not null and c.status = 'scheduled' and not c.is_deleted and c.scheduled_at > now()
on conflict (tenant_id, kind, record_id) do nothing;
