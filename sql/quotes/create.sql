-- A quote with its lines; its number is the column's default.
-- $1 title   $2 amount   $3 client   $4 deal   $5 valid until   $6 description   $7 terms   $8 notes   $9 status
-- $10 lines
with quote as (
  insert into quotes (title, amount, client_id, deal_id, valid_until, description, terms, notes, status)
  select app.new_quote_title($1), $2::float8, app.found_contact($3, 'Client'), app.found_deal($4), $5::text::date, $6, $7, $8, $9
  returning id
), line as (
  insert into quote_lines (quote_id, position, description, quantity, unit_price, tax, discount)
  select q.id, l.position, l.line->>'description', (l.line->>'quantity')::numeric, (l.line->>'unit_price')::bigint,
    (l.line->>'tax')::numeric, (l.line->>'discount')::numeric
  from quote q, jsonb_array_elements($10::jsonb) with ordinality as l (line, position)
)
select id from quote
