-- $1 id
update sms_templates set is_deleted = true, updated_at = now() where id = $1 and not is_deleted returning id
