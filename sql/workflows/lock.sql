-- What the change of a workflow is checked against, held until the transaction ends.   $1 workflow id
select status, trigger, actions, conditions, company_id is null as is_historical from workflows where id = $1 and not is_deleted for no key update
