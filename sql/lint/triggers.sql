-- The triggers that maintain app.caller and the rules of a users row, without which nobody is removed or suspended,
-- those of the audit log, and the one that keeps operators from starting work.
select format('trigger %s of %s is missing', t.name, t.target) as finding,
  format('create it again: it executes %s', t.does) as remedy
from (values ('users', 'a_members', 'app.keep_members()'), ('users', 'b_caller', 'app.keep_caller()'),
  ('users', 'guard', 'app.guard_user()'), ('companies', 'b_caller', 'app.keep_caller()'),
  ('audit_log', 'append_only', 'app.keep_append_only()'), ('users', 'audit', 'app.keep_audit_log()'), ('companies', 'audit', 'app.keep_audit_log()'),
  ('twilio_settings', 'audit', 'app.keep_audit_log()'), ('phone_numbers', 'audit', 'app.keep_audit_log()'), ('workflows', 'audit', 'app.keep_audit_log()'),
  ('campaigns', 'audit', 'app.keep_audit_log()'), ('pipelines', 'audit', 'app.keep_audit_log()'), ('pipeline_stages', 'audit', 'app.keep_audit_log()'),
  ('suppressions', 'audit', 'app.keep_audit_log()'), ('invitations', 'audit', 'app.keep_audit_log()'), ('mail_hooks', 'audit', 'app.keep_audit_log()'),
  ('contacts', 'audit', 'app.keep_audit_log()'), ('deals', 'audit', 'app.keep_audit_log()'), ('quotes', 'audit', 'app.keep_audit_log()'),
  ('files', 'audit', 'app.keep_audit_log()'), ('jobs', 'harmless', 'app.refuse_job()')) as t (target, name, does)
where not exists (
  select from pg_trigger g
  where g.tgrelid = to_regclass('public.' || t.target) and g.tgname = t.name
    and g.tgfoid::regprocedure::text = t.does)
order by 1
