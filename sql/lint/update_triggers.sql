-- Triggers that fire for any update: they would run for each historical row that gets its company, which does not
-- change the row's content. The exceptions listed add up what a statement changed, or handle rows that get a company:
-- scheduled workflows, and numbers that another company uses.
select format('trigger %s of %s fires for every update', g.tgname, g.tgrelid::regclass) as finding,
  'name its columns: after update of status on …' as remedy
from pg_trigger g
join pg_policy p on p.polrelid = g.tgrelid and p.polname = 'tenant'
join pg_attribute a on a.attrelid = g.tgrelid and a.attname = 'company_id'
where not g.tgisinternal and (g.tgtype & 16) <> 0 and (g.tgattr::text = '' or a.attnum = any (g.tgattr::int2[]))
  and g.tgfoid::regprocedure::text not in
    ('app.keep_storage_use()', 'app.keep_deal_sums()', 'app.count_campaign()', 'app.keep_number_beside()', 'app.follow_workflow()')
order by 1
