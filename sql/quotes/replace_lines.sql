-- $1 quote id   $2 lines
with gone as (
  delete from quote_lines where quote_id = $1
)
insert into quote_lines (quote_id, position, description, quantity, unit_price, tax, discount)
select $1, l.position, l.line->>'description', (l.line->>'quantity')::numeric, (l.line->>'unit_price')::bigint,
  (l.line->>'tax')::numeric, (l.line->>'discount')::numeric
from jsonb_array_elements($2::jsonb) with ordinality as l (line, position)
returning id
