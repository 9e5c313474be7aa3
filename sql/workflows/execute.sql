-- Starts a run by hand, for one record or none. The request works on it; if its server dies, the job takes over.
-- $1 workflow id   $2 record, or null
with workflow as (
  select w.*, app.found('Record', $2::uuid, (app.workflow_context(w.trigger, $2::uuid) -> 'record' ->> 'id')::uuid) as record_id
  from workflows w where w.id = $1 and not w.is_deleted and w.company_id is not null
), run as (
  insert into workflow_executions (workflow_id, user_id, event, record_id, is_manual, plan, conditions, trigger_data)
  select w.id, w.owner_id, w.trigger, w.record_id, true, w.actions, w.conditions, jsonb_build_object('manual_execution', true, 'user_id', app.user_id())
    || case when w.record_id is null then '{}'
      else jsonb_build_object('record_id', w.record_id, app.record_kind(w.trigger) || '_id', w.record_id) end
  from workflow w
  returning id, user_id, company_id
), job as (
  insert into jobs (user_id, kind, record_id, run_at) select user_id, 'workflow_run', id, now() + interval '5 minutes' from run
)
select id, user_id, company_id from run
