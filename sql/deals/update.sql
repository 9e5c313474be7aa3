-- $1 deal id   $2 the columns to change   $3 pipeline   $4 stage: each null when unchanged
-- $5 contact, or null   $6 whether it loses its contact
-- $7 unless it is this one, with which the deal was shown and comes back
update deals d set updated_at = now(),
  (title, value, company, description, expected_close_date, probability, currency, lost_reason, won_reason, tags, custom_fields, status) = (
    select n.title, n.value, n.company, n.description, n.expected_close_date, n.probability, n.currency, n.lost_reason, n.won_reason, n.tags,
      n.custom_fields, n.status
    from jsonb_populate_record(d, $2) n),
  pipeline_id = case when coalesce($3::uuid, d.pipeline_id) is not distinct from d.pipeline_id then d.pipeline_id else app.deal_pipeline($3, d.company_id is null) end,
  stage_id = case when (coalesce($3, d.pipeline_id), coalesce($4, d.stage_id)) is not distinct from (d.pipeline_id, d.stage_id) then d.stage_id
    else app.deal_stage(coalesce($3, d.pipeline_id), coalesce($4, d.stage_id), null) end,
  contact_id = case when $6 and d.contact_id is distinct from $7 then null else coalesce(app.found_contact(nullif($5, d.contact_id)), d.contact_id) end
where d.id = $1 and not d.is_deleted
returning id, title, value::float8 as value, currency, stage_id,
  (select s.name from pipeline_stages s where s.id = stage_id) as stage_name, pipeline_id, company,
  (select concat_ws(' ', c.first_name, c.last_name) from contacts c where c.id = contact_id) as contact, contact_id, description,
  expected_close_date, actual_close_date, stage_entered_at, status, probability, lost_reason, won_reason, tags, custom_fields, owner_id,
  created_at, updated_at
