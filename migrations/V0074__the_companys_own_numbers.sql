-- Times beyond the wire's are shown as the nearest also where SQL writes them.
set role ringfence_owner;

-- A time as the wire has it; one beyond the first and the last that it can tell is shown as those (src/wire.rs).
create function app.wire_time("time" timestamptz) returns text language sql stable parallel safe strict
  return regexp_replace(to_char(greatest(least($1, timestamptz '9999-12-30 22:00Z'), timestamptz '0001-01-01 00:00Z') at time zone 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.0+$', '');
grant execute on function app.wire_time(timestamptz) to ringfence_api;

-- As in V0010, with days of four digits for a year. No day is without end.
create or replace view quote_card with (security_invoker = true) as
  select q.id, q.quote_number, q.title, q.amount::float8 as amount, q.status, q.client_id, q.deal_id, q.owner_id,
    case when isfinite(q.valid_until) then greatest(least(q.valid_until, date '9999-12-31'), date '0001-01-01')::text end as valid_until,
    q.description, q.terms, q.notes, q.sent_at, q.accepted_at,
    (select coalesce(jsonb_agg(jsonb_build_object('description', l.description, 'quantity', l.quantity::float8, 'unit_price', l.unit_price,
       'tax', l.tax::float8, 'discount', l.discount::float8) order by l.position), '[]')
     from public.quote_lines l where l.quote_id = q.id) as line_items,
    q.created_at, q.updated_at, q.is_deleted
  from public.quotes q;

reset role;
