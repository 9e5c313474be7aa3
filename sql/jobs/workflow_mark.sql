-- Marks the step that the rest of this transaction carries out.   $1 execution   $2 position   $3 action   $4 input
insert into workflow_steps (execution_id, position, action, status, input, attempts) values ($1, $2, $3, 'running', $4, 1)
on conflict (tenant_id, execution_id, position) do update set made_in = pg_current_xact_id()
returning id
