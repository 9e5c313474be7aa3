-- The company's deals, in order of creation.
-- $1 limit   $2 skip
select id, title, value, currency, stage_id, stage_name, pipeline_id, company, contact, contact_id, description, expected_close_date,
  actual_close_date, stage_entered_at, status, probability, lost_reason, won_reason, tags, custom_fields, owner_id, created_at, updated_at
from deal_card
where not is_deleted
-- cursor: and (created_at, id) > ($3, $4)
order by created_at, id
limit $1 offset $2
