-- Plan and status are the platform's; settings are merged key by key.
-- A domain that another company has but for capitals stays as it is stored, when it is saved again.
-- $1 company id   $2 the columns to change
update companies c set updated_at = now(),
  (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings) = (
    select n.name, case when lower(c.domain) = n.domain then c.domain else n.domain end, n.logo_url, n.timezone, n.currency, n.email, n.phone, n.address, n.city, n.state, n.zip,
      c.settings || n.settings
    from jsonb_populate_record(c, $2) n)
where c.id = $1
returning id
