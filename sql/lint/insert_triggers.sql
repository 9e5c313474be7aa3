-- Triggers that act on each new row of a company, and would act again on the rows of an archive.
select format('trigger %s of %s works while an archive comes in', g.tgname, g.tgrelid::regclass) as finding,
  'begin its condition: when (not app.is_restoring() and …)' as remedy
from pg_trigger g
join pg_policy p on p.polrelid = g.tgrelid and p.polname = 'tenant'
-- Row-level insert triggers.
where not g.tgisinternal and (g.tgtype & 5) = 5
  and pg_get_triggerdef(g.oid) like '%new.company_id IS NOT NULL%' and pg_get_triggerdef(g.oid) not like '%app.is_restoring()%'
order by 1
