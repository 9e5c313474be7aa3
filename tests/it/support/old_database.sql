-- Schema of the old backend's database: enum types, tables and columns, but no keys, so that dirty rows of every kind
-- fit.

create type activitystatus as enum ('PENDING', 'COMPLETED', 'OVERDUE', 'CANCELLED');
create type activitytype as enum ('CALL', 'EMAIL', 'MEETING', 'TASK', 'NOTE', 'DEADLINE');
create type auditaction as enum ('CREATE', 'READ', 'UPDATE', 'DELETE', 'LOGIN', 'LOGOUT', 'EXPORT', 'IMPORT');
create type calldirection as enum ('INBOUND', 'OUTBOUND');
create type callstatus as enum ('INITIATED', 'RINGING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'BUSY', 'NO_ANSWER', 'CANCELED');
create type contactstatus as enum ('NEW', 'LEAD', 'PROSPECT', 'CONTACTED', 'QUALIFIED', 'UNQUALIFIED', 'CUSTOMER', 'INACTIVE');
create type dealstatus as enum ('OPEN', 'WON', 'LOST', 'ABANDONED');
create type documentstatus as enum ('DRAFT', 'SENT', 'VIEWED', 'SIGNED', 'DECLINED', 'EXPIRED');
create type documenttype as enum ('CONTRACT', 'PROPOSAL', 'NDA', 'INVOICE', 'QUOTE', 'OTHER');
create type emailstatus as enum ('DRAFT', 'SCHEDULED', 'SENT', 'RECEIVED', 'DELIVERED', 'OPENED', 'CLICKED', 'BOUNCED', 'FAILED');
create type leadsource as enum ('WEBSITE', 'REFERRAL', 'LINKEDIN', 'COLD_EMAIL', 'TRADE_SHOW', 'SOCIAL_MEDIA', 'OTHER');
create type messagedirection as enum ('INBOUND', 'OUTBOUND');
create type messagestatus as enum ('SENT', 'DELIVERED', 'READ', 'FAILED', 'PENDING');
create type messagetype as enum ('SMS', 'EMAIL', 'VOICE');
create type notificationtype as enum ('INFO', 'SUCCESS', 'WARNING', 'ERROR');
create type quotestatus as enum ('DRAFT', 'SENT', 'ACCEPTED', 'REJECTED', 'EXPIRED');
create type securityeventtype as enum ('LOGIN_SUCCESS', 'LOGIN_FAILED', 'LOGOUT', 'PASSWORD_CHANGED', 'PASSWORD_RESET', 'ACCOUNT_LOCKED', 'SUSPICIOUS_ACTIVITY', 'PERMISSION_DENIED');
create type smsdirection as enum ('INBOUND', 'OUTBOUND');
create type smsstatus as enum ('QUEUED', 'SENT', 'RECEIVED', 'DELIVERED', 'UNDELIVERED', 'FAILED', 'READ');
create type workflowstatus as enum ('ACTIVE', 'INACTIVE', 'PAUSED');
create type workflowtrigger as enum ('DEAL_CREATED', 'DEAL_STAGE_CHANGED', 'DEAL_WON', 'DEAL_LOST', 'CONTACT_CREATED', 'ACTIVITY_COMPLETED', 'EMAIL_OPENED', 'DOCUMENT_SIGNED', 'SCHEDULED');

create table activities (
  type activitytype not null, subject varchar(255) not null, description text, status activitystatus not null,
  due_date timestamp, completed_at timestamp, duration_minutes integer, owner_id uuid not null, contact_id uuid,
  deal_id uuid, company_id uuid, location varchar(255), outcome varchar(500), priority integer, custom_fields jsonb,
  id uuid not null, created_at timestamp not null, updated_at timestamp not null, is_active boolean not null,
  is_deleted boolean not null
);
create table activity_metrics (
  user_id uuid not null, activity_type varchar(50) not null, date timestamp not null, total_count integer not null,
  completed_count integer not null, overdue_count integer not null, pending_count integer not null, cancelled_count
  integer not null, completion_rate float8, avg_completion_time_hours float8, avg_duration_minutes float8,
  last_updated timestamp not null, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table audit_logs (
  user_id uuid, user_email varchar(255), action auditaction not null, resource_type varchar(100) not null,
  resource_id uuid, description text, changes jsonb, ip_address inet, user_agent varchar(500), request_method
  varchar(10), request_path varchar(500), extra_data jsonb, id uuid not null, created_at timestamp not null,
  updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table bulk_email_analytics (
  campaign_id uuid not null, recipient_email varchar(255) not null, recipient_name varchar(255), sent_at timestamp,
  delivered_at timestamp, opened_at timestamp, clicked_at timestamp, bounced_at timestamp, bounce_reason text,
  opened boolean, clicked boolean, bounced boolean, unsubscribed boolean, id uuid not null, created_at timestamp not
  null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table bulk_email_campaigns (
  user_id uuid not null, campaign_name varchar(255) not null, subject varchar(255) not null, body text not null,
  html_body text, ip_pool varchar(50), scheduled_at timestamp, sent_at timestamp, status varchar(20),
  total_recipients integer, total_sent integer, total_delivered integer, total_opened integer, total_clicked
  integer, total_bounced integer, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table call_metrics (
  user_id uuid not null, date timestamp not null, total_calls integer not null, answered integer not null, missed
  integer not null, voicemail integer not null, total_duration_sec integer, avg_duration_sec float8,
  min_duration_sec integer, max_duration_sec integer, answer_rate float8, recorded_calls integer, recording_rate
  float8, deals_advanced integer, followups_scheduled integer, last_updated timestamp not null, id uuid not null,
  created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not
  null
);
create table call_transcripts (
  call_sid varchar(50) not null, conversation_id uuid, user_id uuid not null, duration integer, transcript_text
  text, recording_url varchar(500), transcription_status varchar(20), timestamp timestamp, id uuid not null,
  created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not
  null
);
create table calls (
  direction calldirection not null, status callstatus not null, from_address varchar(20) not null, to_address
  varchar(20) not null, duration integer, price varchar(20), price_unit varchar(10), started_at timestamp,
  answered_at timestamp, ended_at timestamp, recording_url varchar(500), recording_duration integer, user_id uuid
  not null, contact_id uuid, company_id uuid, twilio_sid varchar(100), parent_call_sid varchar(100), notes text,
  forwarded_from varchar(20), caller_name varchar(200), quality_score integer, queue_time integer, error_code
  varchar(20), error_message varchar(500), id uuid not null, created_at timestamp not null, updated_at timestamp not
  null, is_active boolean not null, is_deleted boolean not null
);
create table companies (
  name varchar(255) not null, plan varchar(50) not null, status varchar(50) not null, email varchar(255), phone
  varchar(50), address varchar(255), city varchar(100), state varchar(100), zip varchar(20), domain varchar(255),
  logo_url varchar(500), timezone varchar(50), currency varchar(10), stripe_customer_id varchar(255),
  square_customer_id varchar(255), subscription_status varchar(50) not null, trial_ends_at timestamp, monthly_price
  numeric, last_payment_date timestamp, next_billing_date timestamp, subscription_ends_at varchar,
  twilio_account_sid varchar(255), twilio_auth_token varchar(255), sendgrid_api_key varchar(255), created_by uuid,
  id uuid not null, created_at timestamp not null, updated_at timestamp not null, is_active boolean not null,
  is_deleted boolean not null
);
create table contact_metrics (
  source varchar(100), status varchar(50), owner_id uuid, date timestamp not null, total_contacts integer not null,
  new_contacts integer, qualified_contacts integer, converted_contacts integer, conversion_rate float8,
  avg_time_to_convert_days float8, avg_deal_value float8, avg_lead_score float8, high_score_count integer,
  last_updated timestamp not null, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table contacts (
  first_name varchar(100) not null, last_name varchar(100) not null, email varchar(255) not null, phone varchar(20),
  mobile varchar(20), company varchar(200), title varchar(100), type varchar(100), department varchar(100), website
  varchar(255), address_line1 varchar(255), address_line2 varchar(255), city varchar(100), state varchar(100),
  postal_code varchar(20), country varchar(100), status contactstatus not null, source leadsource, lead_score
  integer, owner_id uuid not null, company_id uuid, tags jsonb, custom_fields jsonb, notes text, linkedin_url
  varchar(255), twitter_handle varchar(100), id uuid not null, created_at timestamp not null, updated_at timestamp
  not null, is_active boolean not null, is_deleted boolean not null
);
create table deals (
  title varchar(255) not null, description text, value float8 not null, currency varchar(3), pipeline_id uuid not
  null, stage_id uuid not null, status dealstatus not null, owner_id uuid not null, contact_id uuid, company
  varchar(255), company_id uuid, expected_close_date timestamp, actual_close_date timestamp, stage_entered_at
  timestamp, probability float8, weighted_value float8, lost_reason varchar(255), won_reason varchar(255), tags
  jsonb, custom_fields jsonb, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table document_metrics (
  document_type varchar(50), owner_id uuid, date timestamp not null, total_documents integer not null,
  sent_documents integer, viewed_documents integer, signed_documents integer, declined_documents integer,
  expired_documents integer, completion_rate float8, avg_time_to_sign_hours float8, avg_view_count float8,
  avg_reminder_count float8, last_updated timestamp not null, id uuid not null, created_at timestamp not null,
  updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table document_signatures (
  document_id uuid not null, company_id uuid, signer_name varchar(255) not null, signer_email varchar(255) not null,
  signer_role varchar(100), signed_at timestamp, signature_data text, ip_address varchar(45), user_agent
  varchar(500), is_signed boolean, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table documents (
  name varchar(255) not null, description text, type documenttype not null, status documentstatus not null, file_url
  varchar(500) not null, file_size integer, file_type varchar(50), owner_id uuid not null, contact_id uuid, deal_id
  uuid, company_id uuid, requires_signature boolean, signature_provider varchar(50), signature_request_id
  varchar(255), sent_at timestamp, viewed_at timestamp, signed_at timestamp, expires_at timestamp, view_count
  integer, reminder_count integer, last_reminder_at timestamp, tags jsonb, custom_fields jsonb, id uuid not null,
  created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not
  null
);
create table email_campaigns (
  name varchar(255) not null, description text, template_id uuid, company_id uuid, total_sent integer,
  total_delivered integer, total_opened integer, total_clicked integer, total_bounced integer, scheduled_at
  timestamp, sent_at timestamp, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table email_metrics (
  campaign_id uuid, template_id uuid, user_id uuid, date timestamp not null, sent integer not null, delivered
  integer not null, opened integer not null, clicked integer not null, bounced integer not null, unsubscribed
  integer not null, unique_opens integer, unique_clicks integer, open_rate float8, click_rate float8, bounce_rate
  float8, click_to_open_rate float8, last_updated timestamp not null, id uuid not null, created_at timestamp not
  null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table email_templates (
  name varchar(255) not null, subject varchar(500) not null, body_html text not null, body_text text, category
  varchar(100), company_id uuid, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table emails (
  subject varchar(500) not null, body_html text, body_text text, from_email varchar(255) not null, to_email
  varchar(255) not null, cc_emails jsonb, bcc_emails jsonb, status emailstatus not null, contact_id uuid, deal_id
  uuid, template_id uuid, campaign_id uuid, owner_id uuid not null, company_id uuid, sent_at timestamp, delivered_at
  timestamp, opened_at timestamp, clicked_at timestamp, bounced_at timestamp, open_count integer, click_count
  integer, provider_message_id varchar(255), provider_data jsonb, id uuid not null, created_at timestamp not null,
  updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table files (
  name varchar(255) not null, original_name varchar(255) not null, file_type varchar(100), mime_type varchar(100),
  size bigint, storage_path varchar(500), url varchar(500), category varchar(100), folder_id uuid, tags text[],
  contact_id uuid, deal_id uuid, owner_id uuid not null, company_id uuid, description text, status varchar(50),
  version integer, custom_fields jsonb, id uuid not null, created_at timestamp not null, updated_at timestamp not
  null, is_active boolean not null, is_deleted boolean not null
);
create table folders (
  name varchar(255) not null, description text, parent_id uuid, owner_id uuid not null, company_id uuid, status
  varchar(50), tags text[], color varchar(50), icon varchar(50), custom_fields jsonb, id uuid not null, created_at
  timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table inbox (
  message_type messagetype not null, direction messagedirection not null, status messagestatus, from_address
  varchar(255) not null, to_address varchar(255) not null, subject varchar(500), body text not null, html_body text,
  sent_at timestamp, delivered_at timestamp, read_at timestamp, provider_message_id varchar(255), provider_status
  varchar(50), provider_data jsonb, contact_id uuid, deal_id uuid, user_id uuid not null, attachments jsonb, tags
  jsonb, is_archived boolean, is_important boolean, id uuid not null, created_at timestamp not null, updated_at
  timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table message_analytics (
  conversation_id uuid, message_id uuid, from_twilio_number varchar(20), to_number varchar(20), response_time
  integer, delivered boolean, responded boolean, opened boolean, clicked boolean, timestamp timestamp, id uuid not
  null, created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean
  not null
);
create table notifications (
  title varchar(255) not null, message text not null, type notificationtype not null, read boolean not null, link
  varchar(500), user_id uuid not null, company_id uuid, id uuid not null, created_at timestamp not null, updated_at
  timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table number_performance_stats (
  phone_number_id uuid not null, twilio_number varchar(20) not null, user_id uuid not null, date timestamp not null,
  total_sent integer, total_delivered integer, total_received integer, total_responded integer, avg_response_time
  integer, delivery_rate float8, response_rate float8, engagement_score float8, id uuid not null, created_at
  timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table payment_history (
  company_id uuid not null, square_payment_id varchar(255), amount numeric not null, currency varchar(3), status
  varchar(50) not null, payment_method varchar(50), card_last_4 varchar(4), card_brand varchar(50), receipt_url
  text, failure_reason text, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table performance_alerts (
  user_id uuid not null, alert_type varchar(50) not null, severity varchar(20), title varchar(255) not null, message
  text not null, metric_value numeric, threshold_value numeric, related_entity_type varchar(50), related_entity_id
  uuid, is_read boolean, is_resolved boolean, resolved_at timestamp, id uuid not null, created_at timestamp not
  null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table phone_numbers (
  phone_number varchar(20) not null, friendly_name varchar(255), twilio_sid varchar(100), sms_enabled boolean,
  voice_enabled boolean, mms_enabled boolean, is_active boolean, rotation_enabled boolean, rotation_priority
  integer, total_messages_sent integer, total_messages_received integer, last_used_at timestamp, user_id uuid not
  null, company_id uuid, twilio_settings_id uuid, assigned_to_contact_id uuid, id uuid not null, created_at
  timestamp not null, updated_at timestamp not null, is_deleted boolean not null
);
create table pipeline_metrics (
  pipeline_id uuid not null, stage_id uuid not null, deal_count integer not null, total_value float8, avg_value
  float8, avg_duration_days float8, conversion_rate float8, deals_won integer, deals_lost integer, win_rate float8,
  fastest_deal_days float8, slowest_deal_days float8, median_duration_days float8, last_updated timestamp not null,
  id uuid not null, created_at timestamp not null, updated_at timestamp not null, is_active boolean not null,
  is_deleted boolean not null
);
create table pipeline_stages (
  pipeline_id uuid not null, name varchar(100) not null, description varchar(500), order_index integer not null,
  probability float8, is_closed boolean, is_won boolean, id uuid not null, created_at timestamp not null, updated_at
  timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table pipelines (
  name varchar(100) not null, description varchar(500), is_default boolean, order_index integer, company_id uuid, id
  uuid not null, created_at timestamp not null, updated_at timestamp not null, is_active boolean not null,
  is_deleted boolean not null
);
create table quotes (
  quote_number varchar(50) not null, title varchar(255) not null, amount numeric not null, status quotestatus not
  null, client_id uuid, deal_id uuid, owner_id uuid not null, company_id uuid, valid_until date, sent_at date,
  accepted_at date, description text, terms text, notes text, custom_fields jsonb, id uuid not null, created_at
  timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table revenue_metrics (
  pipeline_id uuid, owner_id uuid, team_id uuid, year integer not null, month integer not null, quarter integer,
  total_revenue float8 not null, total_deals integer not null, avg_deal_size float8, revenue_growth_rate float8,
  deal_growth_rate float8, forecasted_revenue float8, pipeline_value float8, last_updated timestamp not null, id
  uuid not null, created_at timestamp not null, updated_at timestamp not null, is_active boolean not null,
  is_deleted boolean not null
);
create table roles (
  name varchar(50) not null, description varchar(255), permissions varchar, id uuid not null, created_at timestamp
  not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table scheduled_sms (
  id uuid not null, user_id uuid not null, contact_id uuid, company_id uuid, to_address varchar(20) not null,
  from_address varchar(20), body text not null, template_id uuid, scheduled_at timestamp not null, sent_at
  timestamp, is_sent boolean, is_cancelled boolean, error_message text, created_at timestamp, updated_at timestamp
);
create table security_logs (
  event_type securityeventtype not null, severity varchar(20) not null, user_id uuid, user_email varchar(255),
  description text not null, details jsonb, ip_address inet, user_agent varchar(500), location varchar(255),
  action_taken varchar(255), id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table sessions (
  user_id uuid not null, token varchar(500) not null, ip_address inet, user_agent varchar(500), device_type
  varchar(50), browser varchar(100), os varchar(100), expires_at timestamp not null, last_activity_at timestamp,
  is_revoked boolean, revoked_at timestamp, revoked_reason varchar(255), id uuid not null, created_at timestamp not
  null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table sms_messages (
  direction smsdirection not null, status smsstatus not null, from_address varchar(20) not null, to_address
  varchar(20) not null, body text not null, sent_at timestamp, delivered_at timestamp, read_at timestamp, user_id
  uuid not null, contact_id uuid, company_id uuid, twilio_sid varchar(100), price varchar(20), error_code
  varchar(20), error_message varchar(500), num_segments varchar(10), num_media varchar(10), is_auto_response
  boolean, conversation_id uuid, id uuid not null, created_at timestamp not null, updated_at timestamp not null,
  is_active boolean not null, is_deleted boolean not null
);
create table sms_templates (
  name varchar(255) not null, category varchar(100), body text not null, is_static boolean, variables text,
  use_ai_enhancement boolean, ai_tone varchar(50), usage_count integer, user_id uuid not null, company_id uuid,
  is_active boolean, id uuid not null, created_at timestamp not null, updated_at timestamp not null, is_deleted
  boolean not null
);
create table teams (
  name varchar(100) not null, description varchar(500), team_lead_id uuid, id uuid not null, created_at timestamp
  not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table twilio_settings (
  user_id uuid, company_id uuid not null, account_sid varchar(255) not null, auth_token varchar(255) not null,
  phone_number varchar(20), sendgrid_api_key varchar(255), sendgrid_from_email varchar(255), sms_enabled boolean,
  voice_enabled boolean, email_enabled boolean, is_verified boolean, last_verified_at timestamp, id uuid not null,
  created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not
  null
);
create table user_conversations (
  user_id uuid not null, to_number varchar(20) not null, from_twilio_number varchar(20) not null,
  conversation_status varchar(20), last_message_at timestamp, id uuid not null, created_at timestamp not null,
  updated_at timestamp not null, is_active boolean not null, is_deleted boolean not null
);
create table user_roles (
  user_id uuid not null, role_id uuid not null
);
create table users (
  company_id uuid, user_role varchar(50) not null, status varchar(50) not null, email varchar(255) not null,
  hashed_password varchar(255) not null, first_name varchar(100) not null, last_name varchar(100) not null, phone
  varchar(20), avatar_url varchar(500), timezone varchar(50), language varchar(10), title varchar(100), department
  varchar(100), location varchar(100), bio varchar(500), team_id uuid, manager_id uuid, email_verified boolean,
  last_login varchar, role varchar(50), reset_code varchar(6), reset_code_expires timestamp, id uuid not null,
  created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not
  null
);
create table workflow_executions (
  workflow_id uuid not null, company_id uuid, status varchar(50) not null, trigger_data jsonb, actions_executed
  jsonb, success_count integer, failure_count integer, error_message text, started_at timestamp, completed_at
  timestamp, duration_seconds integer, id uuid not null, created_at timestamp not null, updated_at timestamp not
  null, is_active boolean not null, is_deleted boolean not null
);
create table workflows (
  name varchar(255) not null, description text, status workflowstatus not null, trigger_type workflowtrigger not
  null, trigger_conditions jsonb, actions jsonb not null, execution_order integer, max_executions integer,
  execution_count integer, owner_id uuid not null, company_id uuid, last_executed_at timestamp, id uuid not null,
  created_at timestamp not null, updated_at timestamp not null, is_active boolean not null, is_deleted boolean not
  null
);
