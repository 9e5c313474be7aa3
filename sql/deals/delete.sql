-- $1 deal id
update deals d set is_deleted = true, updated_at = now() where d.id = $1 and not d.is_deleted
returning id, title, value::float8 as value, currency, stage_id,
  (select s.name from pipeline_stages s where s.id = stage_id) as stage_name, pipeline_id, company,
  (select concat_ws(' ', c.first_name, c.last_name) from contacts c where c.id = contact_id) as contact, contact_id, description,
  expected_close_date, actual_close_date, stage_entered_at, status, probability, lost_reason, won_reason, tags, custom_fields, owner_id,
  created_at, updated_at
