-- What the PDF of a quote prints (src/pdf/quote.rs).
-- $1 quote id
select jsonb_build_object('number', q.quote_number, 'title', q.title, 'amount', q.amount, 'status', q.status,
  -- In the company's time zone.
  'date', left(app.wire_time(q.created_at at time zone z.zone at time zone 'UTC'), 10), 'valid_until', q.valid_until, 'description', q.description, 'terms', q.terms,
  'generated', to_char(now() at time zone z.zone, 'YYYY-MM-DD HH24:MI') || ' ' || z.zone, 'lines', q.line_items,
  -- The content's key, if the logo is one of the company's own files.
  'logo_key', (select f.object_key from companies c
    join files f on f.id = substring(c.logo_url from '^/api/files/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/download$')::uuid
    where not f.is_deleted and f.size <= 2097152),
  'company', (select to_jsonb(c) from companies c),
  'client', (select jsonb_build_object('name', concat_ws(' ', p.first_name, p.last_name), 'company', p.company, 'email', p.email, 'phone', p.phone)
    from contacts p where p.id = q.client_id))
from quote_card q, app.company_zone() z (zone) where q.id = $1 and not q.is_deleted
