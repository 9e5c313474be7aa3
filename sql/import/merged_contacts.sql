-- A company has one contact per address, ignoring case: the existing one here, or else the first. References to the
-- others are changed to it, and its empty fields are filled from them.
with mine as (
  select s.n, s.id, s.tenant_id, lower(s.email) as address, first_value(s.id) over (partition by s.tenant_id, lower(s.email) order by s.n) as first
  from old_contacts s where s.problem is null and not s.is_deleted and s.company_id is not null and s.email <> ''
), merged as (
  select m.n, m.id, coalesce(c.id, m.first) as kept
  from mine m left join contacts c on c.tenant_id = m.tenant_id and lower(c.email) = m.address and not c.is_deleted and c.company_id is not null
  where coalesce(c.id, m.first) <> m.id
), filled as (
  update old_contacts k set phone = coalesce(nullif(k.phone, ''), f.phone), company = coalesce(nullif(k.company, ''), f.company),
    title = coalesce(nullif(k.title, ''), f.title)
  from (
    select m.kept, min(nullif(s.phone, '')) as phone, min(nullif(s.company, '')) as company, min(nullif(s.title, '')) as title
    from merged m join old_contacts s on s.n = m.n group by m.kept
  ) f
  where k.id = f.kept
), known as (
  insert into old_merged (id, kept) select id, kept from merged on conflict do nothing
)
update old_contacts s set problem = format('another contact of the company has its address: merged into %s', m.kept) from merged m where m.n = s.n
