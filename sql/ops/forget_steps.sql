-- What steps of workflows did for a person, in runs that are not theirs.
-- $1 tenant   $2 address, lower-cased   $3 the number's digits
update workflow_steps s set input = '{}', result = '{}', error_message = null
from (select regexp_replace(t.input ->> 'to', '\D', '', 'g') as digits, t.id from workflow_steps t where t.tenant_id = $1) t
where s.tenant_id = $1 and t.id = s.id
  and (ops.names(s.input, $2) or ops.names(s.result, $2) or ops.names(to_jsonb(s.error_message), $2) or $3 in (t.digits, right(t.digits, 10)))
