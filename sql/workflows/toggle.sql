-- $1 workflow id
update workflows set status = case status when 'active' then 'inactive' else 'active' end, updated_at = now()
where id = $1 and not is_deleted
returning status
