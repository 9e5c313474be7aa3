-- $1 quote id
select id, quote_number, title, amount, status, client_id, deal_id, owner_id, valid_until, description, terms, notes, sent_at, accepted_at,
  line_items, created_at, updated_at
from quote_card where id = $1 and not is_deleted
