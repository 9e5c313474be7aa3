-- The context that a run would have.   $1 workflow id   $2 record, or null for the newest that its trigger is about
with workflow as (
  select * from workflows where id = $1 and not is_deleted
), record as materialized (
  select coalesce(app.found('Record', $2::uuid, (app.workflow_context(w.trigger, $2::uuid) -> 'record' ->> 'id')::uuid), case app.record_kind(w.trigger)
    when 'deal' then (select d.id from deals d where not d.is_deleted order by d.created_at desc, d.id desc limit 1)
    when 'contact' then (select c.id from contacts c where not c.is_deleted order by c.created_at desc, c.id desc limit 1)
    when 'activity' then (select a.id from activities a where a.status = 'completed' order by a.due_order desc limit 1)
    when 'email' then (select e.id from emails e where not e.is_deleted and e.direction = 'outbound' order by e.created_at desc, e.id desc limit 1)
    when 'message' then (select m.id from sms_messages m where m.direction = 'inbound' order by m.created_at desc, m.id desc limit 1) end) as id
  from workflow w
)
select w.name, w.conditions, w.actions, app.workflow_context(w.trigger, r.id) as context,
  jsonb_build_object('event', w.trigger, 'record_id', r.id) || case when app.record_kind(w.trigger) is null then '{}'
    else jsonb_build_object(app.record_kind(w.trigger) || '_id', r.id) end
    || coalesce((select jsonb_build_object('from', m.from_address, 'to', m.to_address, 'body', m.body) from sms_messages m
      where w.trigger = 'inbound_sms' and m.id = r.id), '{}') as trigger_data
from workflow w, record r
