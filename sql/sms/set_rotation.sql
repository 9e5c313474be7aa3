-- $1 id   $2 whether it is in rotation   $3 priority, or null to leave it
update phone_numbers set rotation_enabled = $2, rotation_priority = coalesce($3, rotation_priority), updated_at = now()
where id = $1 and not is_deleted
returning id
