-- $1 quote id   $2 the columns to change   $3 client   $4 whether it loses its client   $5 deal
-- $6 whether it loses its deal
update quotes q set updated_at = now(), (title, amount, valid_until, description, terms, notes, status) = (
    select n.title, n.amount, n.valid_until, n.description, n.terms, n.notes, n.status from jsonb_populate_record(q, $2) n),
  client_id = case when $4 then null else coalesce(app.found_contact(nullif($3, q.client_id), 'Client'), q.client_id) end,
  deal_id = case when $6 then null else coalesce(app.found_deal(nullif($5, q.deal_id)), q.deal_id) end
where q.id = $1 and not q.is_deleted
returning id
