-- Rights of operators with which they would start or send something in a member's name, let somebody in, claim an
-- account or number of Twilio's, find or take another company's id, or do something to what is the whole server's:
-- locks, large objects and the place in the write-ahead log, which everybody has where no superuser migrated, and its
-- disk. An exported snapshot lets an operator go on in a company that was taken from them.
with operator as (
  select r.oid, r.rolname, r.rolcanlogin from pg_roles r
  where not r.rolsuper and (pg_has_role(r.oid, 'ringfence_operator', 'member') or pg_has_role(r.oid, 'ringfence_operator_limited', 'member'))
)
select format('%s has %s on %s', r.rolname, right_name, t.name) as finding, 'revoke it: see app.open_to_operators' as remedy
from operator r, unnest(array['insert', 'update']) as right_name, unnest(array['invitations', 'mail_hooks', 'twilio_settings',
  'phone_numbers', 'workflows', 'workflow_events', 'workflow_executions', 'workflow_steps', 'scheduled_sms', 'campaigns', 'campaign_recipients']) as t (name)
where has_any_column_privilege(r.oid, 'public.' || t.name, right_name)
union all
select format('%s may choose the id of a new row in %s', r.rolname, a.attrelid::regclass), 'revoke insert (id): see app.open_to_operators'
from operator r, pg_policy p join pg_attribute a on a.attrelid = p.polrelid and a.attname = 'id'
where p.polname = 'operator' and has_column_privilege(r.oid, a.attrelid, a.attnum, 'insert')
union all
select format('%s may execute %s', r.rolname, p.oid::regprocedure), 'run `ringfence migrate` as a superuser, who takes it from public; or revoke it'
from operator r, pg_proc p
where p.pronamespace = 'pg_catalog'::regnamespace and has_function_privilege(r.oid, p.oid, 'execute')
  and (p.proacl is not null and p.proname ~ '^(pg_(try_)?advisory_|lo_creat|lo_from_bytea|pg_current_wal_(insert_|flush_)?lsn$)'
    or p.proname = 'pg_export_snapshot' and (p.proacl is not null or r.rolcanlogin))
union all
select format('%s may fill the disk with temporary files', r.rolname),
  format('as a superuser: alter role %I set temp_file_limit = ''1GB''', r.rolname)
from operator r
where r.rolcanlogin and current_setting('temp_file_limit') = '-1' and not exists (
  select from pg_db_role_setting s, unnest(s.setconfig) c where s.setrole = r.oid and c like 'temp\_file\_limit=%' and c <> 'temp_file_limit=-1')
order by 1
