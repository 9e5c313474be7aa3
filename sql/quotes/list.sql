-- $1 limit   $2 skip
select id, quote_number, title, amount, status, client_id, deal_id, owner_id, valid_until, description, terms, notes, sent_at, accepted_at,
  line_items, created_at, updated_at
from quote_card
where not is_deleted
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
