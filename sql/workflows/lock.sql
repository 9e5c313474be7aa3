-- Locks a workflow until the transaction ends, to check a change of it.   $1 workflow id
select status, trigger, actions, conditions, company_id is null as is_historical from workflows where id = $1 and not is_deleted for no key update
