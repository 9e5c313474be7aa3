-- What a database for plans has in addition to `ringfence demo`: as many rows of each kind, of companies of every size.
insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, created_at)
select tenant_id, company_id, user_id, direction, 'completed', from_address, to_address, created_at from sms_messages;
insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body, created_at)
select tenant_id, company_id, user_id, direction, case direction when 'inbound' then 'received' else 'sent' end, from_address, to_address, 'S', body, created_at from sms_messages;
insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients, created_at)
select tenant_id, company_id, user_id, 'C', 'S', body, 'sent', 1, created_at from sms_messages;
insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email)
select tenant_id, company_id, user_id, id, id::text from campaigns;
insert into notifications (tenant_id, company_id, user_id, title, message)
select tenant_id, company_id, user_id, 'T', 'M' from sms_messages where company_id is not null;
insert into quotes (tenant_id, company_id, owner_id, quote_number, title, amount, status, created_at)
select tenant_id, company_id, owner_id, 'Q-' || title, title, 1, (array['draft', 'sent'])[1 + length(title) % 2], created_at from deals;
insert into quote_lines (tenant_id, company_id, owner_id, quote_id, position, description, unit_price)
select tenant_id, company_id, owner_id, id, 1, title, 100 from quotes;
insert into workflows (tenant_id, company_id, owner_id, name, status, created_at)
select tenant_id, company_id, owner_id, title || id, (array['inactive', 'paused'])[1 + length(title) % 2], created_at from deals;
insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, status, created_at)
select w.tenant_id, w.company_id, w.owner_id, w.id, 'deal_won', 'success', d.created_at
from (select distinct on (tenant_id) * from workflows order by tenant_id, id) w join deals d on d.tenant_id = w.tenant_id;
insert into files (tenant_id, company_id, owner_id, name, original_name, category, created_at)
select tenant_id, company_id, owner_id, title, title, left(md5(title), 1), created_at from deals;
-- Somebody whom one searches for.
insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, type)
select distinct on (tenant_id, n) tenant_id, company_id, owner_id, 'Zqxjk', 'Number ' || n, 'zqxjk' || n || '@x.example', 'Rare' from contacts, generate_series(1, 5) n order by tenant_id, n;
insert into folders (tenant_id, company_id, owner_id, name)
select distinct on (tenant_id) tenant_id, company_id, owner_id, 'All' from files order by tenant_id, id;
update files f set folder_id = d.id from folders d where d.tenant_id = f.tenant_id and f.category < '8';
insert into folders (tenant_id, company_id, owner_id, name, parent_id)
select d.tenant_id, d.company_id, d.owner_id, 'Part ' || n, d.id from folders d, generate_series(1, 20) n;
-- Of mail, some is a draft, and some in the trash.
update emails set status = case when direction = 'outbound' and right(id::text, 1) in ('0', '1') then 'draft' else status end,
  is_deleted = right(id::text, 1) in ('2', '3'), thread_id = null;
insert into suppressions (tenant_id, company_id, user_id, channel, address, reason, created_at)
select tenant_id, company_id, owner_id, 'email', id || '@x.example', 'bounce', created_at from contacts where company_id is not null;
insert into audit_log (tenant_id, company_id, table_name, record_id, action, user_id, role, created_at)
select tenant_id, company_id, (array['contacts', 'deals'])[1 + length(title) % 2], id, 'update', owner_id, 'company_user', created_at from deals;
insert into teams (tenant_id, company_id, user_id, name)
select k.company_id, k.company_id, k.user_id, 'Team ' || n from (select distinct on (company_id) * from app.caller where company_id is not null) k, generate_series(1, 9) n;
insert into sms_templates (tenant_id, company_id, user_id, name, body, usage_count)
select t.tenant_id, t.company_id, t.user_id, 'T' || n, 'Hello', n from teams t, generate_series(1, 9) n;
insert into phone_numbers (tenant_id, company_id, user_id, phone_number, is_active)
select t.tenant_id, t.company_id, t.user_id, '+1555' || right(t.id::text, 7), false from teams t;
insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at, is_sent)
select tenant_id, company_id, user_id, from_address, to_address, body, now() + interval '1 year', right(id::text, 1) <> '0' from sms_messages where company_id is not null;
insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status)
select x.tenant_id, x.company_id, x.user_id, x.id, n, 'create_task', 'success' from (select distinct on (tenant_id) * from workflow_executions order by tenant_id, id) x, generate_series(0, 20) n;
-- Values that few rows have, for filters.
update activities set type = 'deadline', status = 'cancelled', completed_at = null from
  (select id as few, row_number() over (partition by tenant_id order by id) as n from activities) f where id = few and n <= 5;
update conversations set conversation_status = 'blocked' from
  (select id as few, row_number() over (partition by tenant_id order by id) as n from conversations) f where id = few and n <= 5;
update campaigns set status = 'draft' from
  (select id as few, row_number() over (partition by tenant_id order by id) as n from campaigns) f where id = few and n <= 5;
insert into audit_log (tenant_id, company_id, table_name, record_id, action, user_id, role)
select k.company_id, k.company_id, 'teams', k.user_id, 'update', '00000000-0000-7000-8000-000000000001', 'company_user' from
  (select distinct on (company_id) * from app.caller where company_id is not null) k, generate_series(1, 5) n;
