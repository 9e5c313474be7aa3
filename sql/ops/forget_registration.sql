-- A company is reached, at first, by what its first admin registered with.
-- $1 company   $2 address, lower-cased   $3 the number's digits
update companies c set email = case when lower(c.email) = $2 then null else c.email end,
  phone = case when $3 in (n.digits, right(n.digits, 10)) then null else c.phone end
from (select regexp_replace(o.phone, '\D', '', 'g') as digits from companies o where o.id = $1) n
where c.id = $1 and (lower(c.email) = $2 or $3 in (n.digits, right(n.digits, 10)))
