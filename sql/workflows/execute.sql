-- Begins a run by hand, for one record or none. Whoever asked works on it now; were that to die, its job takes over.
-- $1 workflow id   $2 record, or null
with run as (
  insert into workflow_executions (workflow_id, user_id, event, record_id, is_manual, trigger_data)
  select w.id, w.owner_id, w.trigger, $2::uuid, true, jsonb_build_object('manual_execution', true, 'user_id', app.user_id())
    || case when $2::uuid is null or w.trigger = 'scheduled' then '{}' else jsonb_build_object('record_id', $2::uuid, app.record_kind(w.trigger) || '_id', $2::uuid) end
  from workflows w where w.id = $1 and not w.is_deleted and w.company_id is not null
  returning id, user_id, company_id
), job as (
  insert into jobs (user_id, kind, record_id, run_at) select user_id, 'workflow_run', id, now() + interval '5 minutes' from run
)
select id, user_id, company_id from run
