-- Clears what steps did for a person in runs that are not theirs; returns the steps. A run that has not begun then
-- evaluates its conditions on the present records.
-- $1 tenant   $2 address, lower-cased   $3 number, in E.164   $4 runs that go anyway   $5 false to change nothing
with found as (
  select s.id from workflow_steps s
  where s.tenant_id = $1 and s.execution_id <> all ($4)
    and (ops.names(s.input, $2) or ops.names(s.result, $2) or ops.names(to_jsonb(s.error_message), $2) or $3 = app.e164(s.input ->> 'to'))
), cleared as (
  update workflow_steps s set input = '{}', result = '{}', error_message = null
  from found where $5 and s.tenant_id = $1 and s.id = found.id
), unbegun as (
  update workflow_executions x set at_event = null
  where $5 and x.tenant_id = $1 and x.at_event is not null and (ops.names(x.at_event, $2) or $3 in (app.e164(x.at_event #>> '{contact,phone}'),
    app.e164(x.at_event #>> '{message,from_address}'), app.e164(x.at_event #>> '{message,to_address}')))
)
select id from found
