-- A company is not left out because it has no name: it gets its id.
with changed as (
  update old_companies s set name = format('Company (%s)', left(s.id::text, 8)) where coalesce(s.name, '') = '' returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'companies', id, 'changed', 'it had no name: its id is in its name now' from changed
