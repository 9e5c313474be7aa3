-- $1 title   $2 value   $3 pipeline, or null for the default one   $4 stage, or null   $5 the stage's name instead
-- $6 contact, or null   $7 client   $8 description   $9 expected close   $10 status
with pipeline as materialized (
  select app.deal_pipeline($3) as id
)
insert into deals (title, value, pipeline_id, stage_id, contact_id, company, description, expected_close_date, status)
select app.new_deal_title($1), $2::float8, p.id, app.deal_stage(p.id, $4, $5), app.found_contact($6), $7, $8, $9, $10
from pipeline p
returning id, title, value::float8 as value, currency, stage_id,
  (select s.name from pipeline_stages s where s.id = stage_id) as stage_name, pipeline_id, company,
  (select concat_ws(' ', c.first_name, c.last_name) from contacts c where c.id = contact_id) as contact, contact_id, description,
  expected_close_date, actual_close_date, stage_entered_at, status, probability, lost_reason, won_reason, tags, custom_fields, owner_id,
  created_at, updated_at
