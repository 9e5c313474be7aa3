-- The notifications that link to the contact, or whose text has the person's address, number or whole name.
-- $1 tenant   $2 contact   $3 address, lower-cased   $4 number, in E.164
select n.id from (select n.id, n.link, n.title || ' ' || n.message as text from notifications n where n.tenant_id = $1) n
where strpos(n.link, $2::uuid::text) > 0 or ops.names(to_jsonb(n.text), $3)
  or length($4::text) > 7 and exists (select from regexp_matches(n.text, '\+?\d[\d ().-]*\d', 'g') number where app.e164(number[1]) = $4)
  or exists (select from contacts c
    where c.tenant_id = $1 and c.id = $2 and btrim(c.first_name) <> '' and btrim(c.last_name) <> ''
      and n.text ~ ('(?<!\w)'
        || regexp_replace(concat(btrim(c.first_name), ' ', btrim(c.last_name)), '[][\\.^$*+?(){}|]', '\\\&', 'g') || '(?!\w)'))
