-- $1 activity id   $2 the columns to change   $3 contact, or null   $4 whether it loses its contact   $5 deal, or null
-- $6 whether it loses its deal
update activities a set updated_at = now(),
  (type, subject, description, status, priority, due_date, duration_minutes, location, outcome, completed_at, custom_fields) = (
    select n.type, n.subject, n.description, n.status, n.priority,
      -- A date equal to that of the stored due time leaves the time as it is.
      case when $2 ->> 'due_date' = left(app.wire_time(a.due_date), 10) then a.due_date else n.due_date end,
      n.duration_minutes, n.location, n.outcome, n.completed_at, n.custom_fields
    from jsonb_populate_record(a, $2) n),
  contact_id = case when $4 then null else coalesce(app.found_contact(nullif($3, a.contact_id)), a.contact_id) end,
  deal_id = case when $6 then null else coalesce(app.found_deal(nullif($5, a.deal_id)), a.deal_id) end
where a.id = $1
returning id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at
