-- The columns that operators without personal data may read. Run by `ringfence migrate` after the migrations; safe to
-- repeat. Ids, times and booleans are open; every other column is listed as open, or as holding what is or may be
-- personal: a name, an address, a text that somebody wrote, a secret. A column that is not listed is not granted, and
-- fails a test.
do $$
declare
  c record;
begin
  for c in
    with decided (name, open, personal) as (values
      ('companies', 'name plan status subscription_status monthly_price domain logo_url timezone currency storage_bytes file_count', 'email phone address city state zip settings'),
      ('users', 'user_role status token_version', 'email first_name last_name phone title department location bio avatar'),
      ('invitations', 'user_role', 'email first_name last_name token_hash'),
      ('contacts', 'type status', 'first_name last_name email phone company title first_name_lc last_name_lc search_text phone_digits'),
      ('pipelines', 'name description order_index', ''),
      ('pipeline_stages', 'name description order_index probability', ''),
      ('deals', 'value currency status probability', 'title description company lost_reason won_reason tags custom_fields search_text'),
      ('workflow_events', 'event depth', 'details'),
      ('activities', 'type status duration_minutes priority', 'subject description location outcome custom_fields'),
      ('jobs', 'kind attempts', 'last_error'),
      ('quotes', 'quote_number number_year number amount status valid_until', 'title description terms notes search_text'),
      ('quote_lines', 'position quantity unit_price tax discount', 'description'),
      ('folders', 'status', 'name description tags'),
      ('files', 'file_type size category status', 'name original_name sha256 object_key description tags search_text'),
      ('sms_messages', 'direction status twilio_sid error_code', 'from_address to_address body error_message'),
      ('calls', 'direction status duration twilio_sid', 'from_address to_address recording_url notes error_message'),
      ('emails', 'direction status provider_id open_count attachments', 'from_email to_email subject body cc bcc error_message message_id in_reply_to reference_ids'),
      ('conversations', 'conversation_status message_count unread_count', 'to_number from_twilio_number'),
      ('scheduled_sms', '', 'from_address to_address body error_message'),
      ('sms_templates', 'name category variables ai_tone usage_count', 'body'),
      ('suppressions', 'channel reason', 'address note'),
      ('twilio_settings', '', 'account_sid phone_number sendgrid_from_email'),
      ('phone_numbers', 'twilio_sid rotation_priority total_messages_sent total_messages_received', 'phone_number friendly_name detached_from'),
      ('campaigns', 'campaign_name ip_pool status total_recipients total_sent total_delivered total_opened total_clicked total_bounced', 'subject body html_body error_message'),
      ('campaign_recipients', 'state attempts provider_id open_count', 'email error_message'),
      ('mail_hooks', '', 'key_hash verification_key'),
      ('workflows', 'name description status trigger schedule max_executions execution_count', 'conditions actions'),
      ('workflow_executions', 'event depth status next_step success_count failure_count error_count', 'trigger_data plan conditions at_event actions error_message'),
      ('workflow_steps', 'position action status attempts made_in', 'input result error_message'),
      ('deal_sums', 'status deals value stage_seconds running closed closed_seconds', ''),
      ('teams', 'name description', ''),
      ('audit_log', 'table_name action role db_role request_id', 'before after')
    )
    select t.oid::regclass as target, a.attname as column_name,
      a.atttypid in ('uuid'::regtype, 'timestamptz'::regtype, 'boolean'::regtype) or coalesce(a.attname = any (string_to_array(d.open, ' ')), false) as is_open
    from pg_policy p
    join pg_class t on t.oid = p.polrelid and t.relnamespace = 'public'::regnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    left join decided d on d.name = t.relname
    where p.polname = 'operator'
  loop
    if c.is_open <> has_column_privilege('ringfence_operator_limited', c.target, c.column_name, 'select') then
      execute format(case when c.is_open then 'grant select (%I) on %s to' else 'revoke select (%I) on %s from' end || ' ringfence_operator_limited',
        c.column_name, c.target);
    end if;
  end loop;
end $$
