-- What operators without personal data may read, and what operators who write need to call. Run by `ringfence migrate`
-- after the migrations; safe to repeat. Ids, times and yes-or-no columns are open; of all others it is said here whether
-- they are open or hold what is personal or could: a name, an address, a text that somebody wrote, a secret. A column that
-- is not named is not granted, and fails a test.
do $$
declare
  c record;
begin
  for c in
    with decided (name, open, personal) as (values
      ('companies', 'name plan status subscription_status monthly_price domain logo_url timezone currency storage_bytes file_count', 'email phone address city state zip settings'),
      ('users', 'user_role status token_version', 'email first_name last_name phone title department location bio avatar'),
      ('members', '', ''),
      ('invitations', 'user_role', 'email first_name last_name token_hash'),
      ('contacts', 'type status', 'first_name last_name email phone company title first_name_lc last_name_lc search_text phone_digits'),
      ('pipelines', 'name description order_index', ''),
      ('pipeline_stages', 'name description order_index probability', ''),
      ('deals', 'value currency status probability', 'title description company lost_reason won_reason tags custom_fields search_text'),
      ('deal_stage_history', '', ''),
      ('workflow_events', 'event depth', 'details'),
      ('workflows', 'status trigger schedule max_executions execution_count', 'name description conditions actions'),
      ('workflow_executions', 'event depth status next_step success_count failure_count error_count', 'trigger_data actions error_message'),
      ('workflow_steps', 'position action status attempts made_in', 'input result error_message'),
      ('activities', 'type status duration_minutes priority', 'subject description location outcome custom_fields'),
      ('jobs', 'kind attempts', 'last_error'),
      ('quotes', 'quote_number number_year number amount status valid_until', 'title description terms notes search_text'),
      ('quote_lines', 'position quantity unit_price tax discount', 'description'),
      ('folders', 'status', 'name description tags'),
      ('files', 'file_type size category status', 'name original_name sha256 object_key description tags search_text'),
      ('sms_messages', 'direction status twilio_sid error_code', 'from_address to_address body error_message'),
      ('calls', 'direction status duration twilio_sid', 'from_address to_address recording_url notes error_message'),
      ('emails', 'direction status provider_id', 'from_email to_email subject body cc bcc error_message'),
      ('conversations', 'conversation_status message_count unread_count', 'to_number from_twilio_number'),
      ('scheduled_sms', '', 'from_address to_address body error_message'),
      ('sms_templates', 'name category variables ai_tone usage_count', 'body'),
      ('suppressions', 'channel reason', 'address note'),
      ('twilio_settings', '', 'account_sid phone_number sendgrid_from_email'),
      ('phone_numbers', 'twilio_sid rotation_priority total_messages_sent total_messages_received', 'phone_number friendly_name')
    )
    select t.oid::regclass as target, a.attname as column_name,
      a.atttypid in ('uuid'::regtype, 'timestamptz'::regtype, 'boolean'::regtype) or a.attname = any (string_to_array(d.open, ' ')) as is_open
    from decided d
    join pg_class t on t.relname = d.name and t.relnamespace = 'public'::regnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  loop
    if c.is_open <> has_column_privilege('ringfence_operator_limited', c.target, c.column_name, 'select') then
      execute format(case when c.is_open then 'grant select (%I) on %s to' else 'revoke select (%I) on %s from' end || ' ringfence_operator_limited',
        c.column_name, c.target);
    end if;
  end loop;

  -- Triggers and defaults call these as the one who writes. Search does not let them see another company's rows first.
  for c in
    select p.oid::regprocedure as name from pg_proc p
    where p.pronamespace = 'app'::regnamespace and not p.prosecdef and p.proname not like '%\_containing'
      and has_function_privilege('ringfence_api', p.oid, 'execute') and not has_function_privilege('ringfence_operator_write', p.oid, 'execute')
  loop
    execute format('grant execute on function %s to ringfence_operator_write', c.name);
  end loop;
end $$
