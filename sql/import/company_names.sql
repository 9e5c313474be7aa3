-- A company is not left out because of its name or domain: a duplicate name gets the id appended, a duplicate domain is
-- dropped.
with ranked as (
  select s.n,
    row_number() over (partition by s.name order by s.n) > 1 or exists (select from companies c where c.name = s.name) as name_taken,
    row_number() over (partition by s.domain order by s.n) > 1 or exists (select from companies c where lower(c.domain) = s.domain) as domain_taken
  from old_companies s where s.problem is null
), changed as (
  update old_companies s set name = case when r.name_taken then format('%s (%s)', left(s.name, 240), left(s.id::text, 8)) else s.name end,
    domain = case when not r.domain_taken then s.domain end
  from ranked r where r.n = s.n and (r.name_taken or (r.domain_taken and s.domain is not null))
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'companies', id, 'changed', 'another company has its name or domain: its id is in its name now, or it has no domain' from changed
