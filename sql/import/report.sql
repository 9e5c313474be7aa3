-- This run's report, and what earlier runs that did not finish reported about rows that they imported.
select distinct table_name, id::text, action, reason from (
  table old_report
  union all
  select r.table_name, r.id, r.action, r.reason from ops.import_report r
  where exists (select from ops.imported i where i.id = r.id)
) r order by 1, 3, 4, 2
