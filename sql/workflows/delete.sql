-- The workflow's runs stop at their next step.   $1 workflow id
update workflows set is_deleted = true, updated_at = now() where id = $1 and not is_deleted returning id
