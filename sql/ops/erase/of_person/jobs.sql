-- Run after the workflow runs are gone, and while the scheduled texts exist.
-- $1 tenant   $2 contact   $3 number, in E.164
select j.id from jobs j
where j.tenant_id = $1 and (j.record_id = $2
  or j.record_id in (select s.id from scheduled_sms s
    where s.tenant_id = $1 and (s.contact_id = $2 or s.contact_id is null and app.e164(s.to_address) = $3))
  or j.kind = 'workflow_run' and not exists (select from workflow_executions x where x.tenant_id = $1 and x.id = j.record_id))
