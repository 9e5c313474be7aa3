-- $1 deal id   $2 the stage's id   $3 or its name: both null when it stays where it is
update deals d set updated_at = now(),
  stage_id = case when $3::text is null and coalesce($2::uuid, d.stage_id) is not distinct from d.stage_id then d.stage_id
    else app.deal_stage(d.pipeline_id, $2, $3) end
where d.id = $1 and not d.is_deleted
returning id, title, value::float8 as value, currency, stage_id,
  (select s.name from pipeline_stages s where s.id = stage_id) as stage_name, pipeline_id, company,
  (select concat_ws(' ', c.first_name, c.last_name) from contacts c where c.id = contact_id) as contact, contact_id, description,
  expected_close_date, actual_close_date, stage_entered_at, status, probability, lost_reason, won_reason, tags, custom_fields, owner_id,
  created_at, updated_at
