-- Takes an address out of the mails that name it.
-- $1 tenant   $2 address, lower-cased
update emails e set
  from_email = case lower(e.from_email) when $2 then 'erased@deleted.invalid' else e.from_email end,
  to_email = case lower(e.to_email) when $2 then 'erased@deleted.invalid' else e.to_email end,
  cc = (select string_agg(a, ',') from string_to_table(e.cc, ',') a where $2 <> coalesce(substring(lower(a) from '<([^>]*)>'), btrim(lower(a)))),
  bcc = (select string_agg(a, ',') from string_to_table(e.bcc, ',') a where $2 <> coalesce(substring(lower(a) from '<([^>]*)>'), btrim(lower(a))))
where e.tenant_id = $1 and position($2 in lower(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc))) > 0
  and $2 in (
    select coalesce(substring(lower(a) from '<([^>]*)>'), btrim(lower(a))) from string_to_table(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc), ',') a)
