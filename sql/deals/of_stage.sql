-- $1 stage id   $2 limit   $3 skip
select id, title, value, currency, stage_id, stage_name, pipeline_id, company, contact, contact_id, description, expected_close_date,
  actual_close_date, stage_entered_at, status, probability, lost_reason, won_reason, tags, custom_fields, owner_id, created_at, updated_at
from deal_card
where stage_id = $1 and not is_deleted
-- cursor: and (created_at, id) > ($4, $5)
order by created_at, id
limit $2 offset $3
