-- Plan and status belong to the platform; settings are merged key by key. A domain that is saved again keeps its stored
-- case, which may be all that distinguishes it from another company's.
-- $1 company id   $2 the columns to change
update companies c set updated_at = now(),
  (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings) = (
    select n.name, case when lower(c.domain) = n.domain then c.domain else n.domain end, n.logo_url, n.timezone, n.currency, n.email, n.phone, n.address, n.city, n.state, n.zip,
      c.settings || n.settings
    from jsonb_populate_record(c, $2) n)
where c.id = $1
returning id
