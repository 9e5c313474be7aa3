-- Rows of the old backend: {companies} companies, {scale} times a few rows each, and dirty rows of every kind.
-- The id of the n-th row of a kind.
create function pg_temp.id(kind text, n bigint) returns uuid language sql immutable as $$ select md5(kind || n)::uuid $$;
create function pg_temp.pick(n bigint, of bigint) returns bigint language sql immutable
  as $$ select 1 + (hashint8(n * 7919) & 2147483647) % greatest(of, 1) $$;

insert into companies (id, name, plan, status, subscription_status, domain, monthly_price, twilio_auth_token, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('company', i), 'Company ' || case when i = 7 then 6 else i end, case when i = 4 then 'starter' else 'PRO' end,
  case when i = 3 then 'frozen' else 'active' end, 'active', case when i = 1 then ' Shared.Example' when i = 2 then 'shared.example' else 'c' || i || '.example' end, 49.5,
  case when i = 5 then 'unused' end, timestamp '2024-01-01' + i * interval '1 hour', '2025-01-01', i <> 8, false
from generate_series(1, {companies}) i;

-- Six for each company, and some without company.
insert into users (id, company_id, user_role, status, email, hashed_password, first_name, last_name, team_id, last_login, role, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('user', i), case when i <= {companies} * 6 then pg_temp.id('company', 1 + (i - 1) / 6) end,
  case when i % 6 = 1 then 'company_admin' when i = 9 then 'super_admin' when i = 10 then 'Super Admin' when i = {companies} * 6 + 2 then 'super_admin' else 'company_user' end,
  case when i = 11 then 'inactive' else 'active' end,
  case when i = 15 then 'USER14@old.example' else 'User' || i || '@Old.example' end,
  case when i = 16 then 'plain text' else '{hash}' end, 'First' || i, 'Last' || i,
  case when i % 6 = 2 then pg_temp.id('team', 1 + (i - 1) / 6) when i = 3 then pg_temp.id('team', 2) end,
  case i % 3 when 0 then '2025-02-30T10:00:00.123' when 1 then 'never' end, 'Regular User',
  timestamp '2024-01-02' + i * interval '1 minute', '2025-01-01', true, i % 6 = 0
from generate_series(1, {companies} * 6 + 5) i;

insert into teams (id, name, description, team_lead_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('team', i), 'Team ' || i, 'Of company ' || i, case when i % 2 = 0 then pg_temp.id('user', i * 6 - 4) end, '2024-02-01', '2024-02-01', true, false
from generate_series(1, {companies} + 1) i;

-- Two for each company, in company 2 both the default; plus two without company: company 2 uses one, all use the other.
insert into pipelines (id, name, is_default, order_index, company_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('pipeline', i), 'Pipeline ' || i, i % 2 = 1 or i = 4, i, case when i <= {companies} * 2 then pg_temp.id('company', 1 + (i - 1) / 2) end,
  '2024-02-01', '2024-02-01', true, false
from generate_series(1, {companies} * 2 + 2) i;
insert into pipeline_stages (id, pipeline_id, name, order_index, probability, is_closed, is_won, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('stage', i), pg_temp.id('pipeline', 1 + (i - 1) / 4), (array['Lead', 'Talk', 'Won', 'Lost'])[1 + (i - 1) % 4], (i - 1) % 4,
  case when i = 5 then 150 when i % 4 = 3 then 100 else 20 end, i % 4 in (3, 0), i % 4 = 3, '2024-02-01', '2024-02-01', true, false
from generate_series(1, {companies} * 8 + 12) i;

-- Company and owner of the n-th row of a table: usually a company and one of its users. Every 17th row has no company,
-- every 101st has an owner from another company, every 211th a company or owner that does not exist.
create function pg_temp.company(n bigint) returns uuid language sql immutable as $$
  select case when n % 17 = 0 then null when n % 211 = 1 then pg_temp.id('company', -1) else pg_temp.id('company', pg_temp.pick(n, {companies})) end $$;
create function pg_temp.owner(n bigint) returns uuid language sql immutable as $$
  select case when n % 211 = 2 then pg_temp.id('user', -1)
    when n % 101 = 0 then pg_temp.id('user', pg_temp.pick(n + 1, {companies}) * 6)
    when n % 34 = 0 then pg_temp.id('user', {companies} * 6 + 1 + n % 5)
    else pg_temp.id('user', (pg_temp.pick(n, {companies}) - 1) * 6 + 1 + n % 6) end $$;
-- A row of the same company, except for every 53rd.
create function pg_temp.related(kind text, n bigint, total bigint) returns uuid language sql immutable as $$
  select case when n % 3 = 0 then null when n % 53 = 0 then pg_temp.id(kind, pg_temp.pick(n, total)) when n % 59 = 0 then pg_temp.id(kind, -1)
    else pg_temp.id(kind, 1 + (n - 1) % greatest(total, 1)) end $$;

insert into contacts (id, first_name, last_name, email, phone, mobile, company, type, status, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('contact', i), 'First' || i, 'Last' || i, case when i % 307 = 0 then 'same@old.example' else 'c' || i || '@old.example' end,
  case when i % 2 = 0 then '+1555' || lpad(i::text, 7, '0') end, '+1777' || lpad(i::text, 7, '0'), 'Client ' || i, 'Lead',
  (enum_range(null::contactstatus))[1 + i % 8], pg_temp.owner(i), pg_temp.company(i), timestamp '2024-03-01' + i * interval '1 second',
  case when i = 12 then 'infinity' else timestamp '2025-01-01' end, true, i % 29 = 0
from generate_series(1, {scale} * 300) i;

insert into deals (id, title, value, currency, pipeline_id, stage_id, status, owner_id, contact_id, company_id, probability, tags, custom_fields, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('deal', i), 'Deal ' || i, case when i = 14 then 'NaN' when i = 15 then 1e20 else i * 1.5 end, 'usd',
  pg_temp.id('pipeline', 1 + (s.n - 1) / 4), pg_temp.id('stage', s.n), (enum_range(null::dealstatus))[1 + i % 4], pg_temp.owner(i),
  pg_temp.related('contact', i, {scale} * 300), pg_temp.company(i), case when i % 7 = 0 then 150 else 50 end,
  case when i = 16 then '{}' when i % 2 = 0 then 'null' else '["a"]' end::jsonb, 'null', timestamp '2024-04-01' + i * interval '1 second', '2025-01-01', true, i % 31 = 0
from generate_series(1, {scale} * 100) i
cross join lateral (select case when i % 43 = 0 then {companies} * 8 + 5 + i % 4 when i % 47 = 0 then pg_temp.pick(i + 5, {companies} * 8)
  when pg_temp.pick(i, {companies}) = 2 and i % 5 = 0 then {companies} * 8 + 1 + i % 4
  else (pg_temp.pick(i, {companies}) - 1) * 8 + 1 + i % 8 end as n) s;

insert into activities (id, type, subject, description, status, due_date, completed_at, duration_minutes, owner_id, contact_id, deal_id, company_id, priority, custom_fields, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('activity', i), (enum_range(null::activitytype))[1 + i % 6], 'Activity ' || i, null, (enum_range(null::activitystatus))[1 + i % 4],
  case when i % 10 = 0 then now() + interval '30 days' else timestamp '2024-05-01' end, null, 30, pg_temp.owner(i),
  pg_temp.related('contact', i, {scale} * 300), pg_temp.related('deal', i, {scale} * 100), pg_temp.company(i), i % 3, null,
  timestamp '2024-05-01' + i * interval '1 second', '2025-01-01', true, i % 400 = 0
from generate_series(1, {scale} * 150) i;

insert into quotes (id, quote_number, title, amount, status, client_id, deal_id, owner_id, company_id, valid_until, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('quote', i), 'QT-2024-' || lpad(case when i % 61 = 0 then 1 else i end::text, 5, '0'), 'Quote ' || i, i * 10.005, (enum_range(null::quotestatus))[1 + i % 5],
  pg_temp.related('contact', i, {scale} * 300), pg_temp.related('deal', i, {scale} * 100), pg_temp.owner(i), pg_temp.company(i), '2025-06-01',
  timestamp '2024-06-01' + i * interval '1 second', '2025-01-01', true, i % 37 = 0
from generate_series(1, {scale} * 20) i;

-- Every 40th folder and the next one contain each other.
insert into folders (id, name, parent_id, owner_id, company_id, tags, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('folder', i), 'Folder ' || i, case when i % 40 = 0 then pg_temp.id('folder', i + 1) when i % 40 = 1 and i > 1 then pg_temp.id('folder', i - 1)
    when i % 4 = 0 then pg_temp.id('folder', i / 4) end,
  pg_temp.owner(i), pg_temp.company(i), array['a'], '2024-07-01', '2025-01-01', true, false
from generate_series(1, {scale} * 10 + 1) i;
insert into files (id, name, original_name, mime_type, size, storage_path, folder_id, contact_id, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('file', i), 'file' || i || '.txt', 'file' || i || '.txt', 'text/plain', length('content ' || i),
  case when i = 3 then '../../etc/passwd' when i % 2 = 0 then '/srv/old/uploads/a/file' || i || '.txt' else 'uploads/file' || i || '.txt' end,
  pg_temp.related('folder', i, {scale} * 10), pg_temp.related('contact', i, {scale} * 300), pg_temp.owner(i), pg_temp.company(i), '2024-07-02', '2025-01-01', true, i % 19 = 0
from generate_series(1, {scale} * 20) i;

insert into twilio_settings (id, user_id, company_id, account_sid, auth_token, phone_number, sendgrid_api_key, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('settings', i), case when i % 2 = 0 then pg_temp.id('user', i * 6 - 5) end, pg_temp.id('company', i), 'AC' || i, 'secret token of company ' || i, '+1888' || lpad(i::text, 7, '0'),
  case when i % 2 = 0 then 'SG.' || repeat(i::text, 20) end, '2024-02-01', '2025-01-01', true, false
from generate_series(1, {companies}) i;
insert into phone_numbers (id, phone_number, twilio_sid, is_active, user_id, company_id, created_at, updated_at, is_deleted)
select pg_temp.id('number', i), '+1888' || lpad(case when i = 4 then 3 else i end::text, 7, '0'), 'PN' || i, null, pg_temp.id('user', i * 6 - 5), pg_temp.id('company', i), '2024-02-01', '2025-01-01', false
from generate_series(1, {companies}) i;
insert into sms_templates (id, name, body, user_id, company_id, created_at, updated_at, is_deleted)
select pg_temp.id('template', i), 'Template ' || i, 'Hello {name}', pg_temp.id('user', i * 6 - 5), pg_temp.id('company', i), '2024-02-01', '2025-01-01', false
from generate_series(1, {companies}) i;
insert into user_conversations (id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('conversation', i), pg_temp.id('user', 1 + i % ({companies} * 6)), '+1999' || lpad((i % 50)::text, 7, '0'), '+18880000001', 'ACTIVE', '2024-08-01', '2024-08-01', '2025-01-01', true, false
from generate_series(1, {companies} * 4) i;

insert into sms_messages (id, direction, status, from_address, to_address, body, user_id, contact_id, company_id, twilio_sid, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('sms', i), case when i % 3 = 0 then 'INBOUND' else 'OUTBOUND' end::smsdirection, (enum_range(null::smsstatus))[1 + i % 7],
  '+18880000001', '+1999' || lpad((i % 5000)::text, 7, '0'), 'Text ' || i, pg_temp.owner(i), pg_temp.related('contact', i, {scale} * 300), pg_temp.company(i),
  case when i % 4 > 0 then 'SM' || case when i % 997 = 0 then 5 else i end end, timestamp '2024-09-01' + i * interval '1 second', '2025-01-01', true, false
from generate_series(1, {scale} * 300) i;
insert into scheduled_sms (id, user_id, contact_id, company_id, to_address, from_address, body, template_id, scheduled_at, is_sent, is_cancelled, created_at, updated_at)
select pg_temp.id('scheduled', i), pg_temp.owner(i), pg_temp.related('contact', i, {scale} * 300), pg_temp.company(i), '+19995550000', case when i % 2 = 0 then '+18880000001' end, 'Later ' || i,
  pg_temp.id('template', pg_temp.pick(i, {companies})), case when i % 2 = 0 then now() + interval '20 days' else '2024-01-01' end, i % 5 = 0, null, null, null
from generate_series(1, {scale} * 10) i;
insert into calls (id, direction, status, from_address, to_address, duration, user_id, contact_id, company_id, twilio_sid, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('call', i), case when i % 3 = 0 then 'INBOUND' else 'OUTBOUND' end::calldirection, (enum_range(null::callstatus))[1 + i % 8],
  '+18880000001', '+19990000001', case when i = 33 then -1 else i % 600 end, pg_temp.owner(i), pg_temp.related('contact', i, {scale} * 300), pg_temp.company(i),
  case when i % 2 = 0 then 'CA' || i end, timestamp '2024-10-01' + i * interval '1 second', '2025-01-01', true, false
from generate_series(1, {scale} * 50) i;
insert into emails (id, subject, body_html, from_email, to_email, cc_emails, status, contact_id, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('email', i), 'Subject ' || i, '<p>Mail</p>', 'a@old.example', 'b@old.example',
  case when i = 20 then (select jsonb_agg('someone' || x || '@old.example') from generate_series(1, 400) x) when i % 2 = 0 then '["x@old.example", "y@old.example"]' else 'null' end,
  (enum_range(null::emailstatus))[1 + i % 9], pg_temp.related('contact', i, {scale} * 300), pg_temp.owner(i), pg_temp.company(i),
  timestamp '2024-11-01' + i * interval '1 second', '2025-01-01', true, i % 23 = 0
from generate_series(1, {scale} * 40) i;
insert into notifications (id, title, message, type, read, user_id, company_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('notification', i), 'Title ' || i, 'Message', (enum_range(null::notificationtype))[1 + i % 4], i % 2 = 0, pg_temp.owner(i), pg_temp.company(i),
  timestamp '2024-12-01' + i * interval '1 second', '2025-01-01', true, false
from generate_series(1, {scale} * 10) i;
insert into audit_logs (id, action, resource_type, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('audit', i), 'LOGIN', 'user', '2024-12-01', '2024-12-01', true, false from generate_series(1, 3) i;
insert into workflows (id, name, status, trigger_type, trigger_conditions, actions, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('workflow', i), 'Workflow ' || case when i % 11 = 0 then 1 else i end, (enum_range(null::workflowstatus))[1 + i % 3], (enum_range(null::workflowtrigger))[1 + i % 9],
  case when i % 5 = 0 then '{"stage": "x"}' else 'null' end::jsonb, '[]', pg_temp.owner(i), pg_temp.company(i), '2024-12-01', '2025-01-01', true, i % 19 = 0
from generate_series(1, {scale} * 10) i;
insert into workflow_executions (id, workflow_id, company_id, status, trigger_data, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('execution', i), pg_temp.id('workflow', case when i % 13 = 0 then -1 else 1 + (i - 1) % ({scale} * 10) end),
  case when i % 3 = 0 then pg_temp.company(1 + (i - 1) % ({scale} * 10)) end, (array['running', 'success', 'FAILED'])[1 + i % 3], null, '2024-12-03', '2025-01-01', true, false
from generate_series(1, {scale} * 20) i;
insert into bulk_email_campaigns (id, user_id, campaign_name, subject, body, status, scheduled_at, total_recipients, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('campaign', i), pg_temp.owner(i), 'Campaign ' || i, 'Subject', 'Body', (array['draft', 'scheduled', 'SENDING', 'sent'])[1 + i % 4],
  now() + interval '5 days', 3, '2024-12-01', '2025-01-01', true, false
from generate_series(1, {scale} * 5) i;
insert into bulk_email_analytics (id, campaign_id, recipient_email, sent_at, opened, unsubscribed, bounced, created_at, updated_at, is_active, is_deleted)
select pg_temp.id('recipient', i), pg_temp.id('campaign', case when i % 13 = 0 then -1 else 1 + i % ({scale} * 5) end),
  'R' || case when i % 7 = 0 then 0 else i end || '@old.example', case when i % 2 = 0 then timestamp '2024-12-02' end, i % 4 = 0, i % 9 = 0, i % 7 = 0, '2024-12-01', '2025-01-01', true, i % 18 = 0
from generate_series(1, {scale} * 20) i;
