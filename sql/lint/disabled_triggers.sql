-- Disabled triggers of each table and partition, including those of foreign keys: without the latter a row could refer
-- to another company's, and without the others data goes stale that the rest relies on.
select format('triggers of %s are switched off: %s', g.tgrelid::regclass,
    string_agg(distinct coalesce(k.conname, g.tgname), ', ')) as finding,
  format('as a superuser: alter table %s enable trigger all', g.tgrelid::regclass) as remedy
from pg_trigger g
join pg_class c on c.oid = g.tgrelid
left join pg_constraint k on k.oid = g.tgconstraint
where c.relnamespace::regnamespace::text in ('public', 'app', 'ops') and g.tgenabled not in ('O', 'A')
group by g.tgrelid
order by 1
