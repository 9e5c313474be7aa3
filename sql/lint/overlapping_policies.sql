-- Two permissive policies for one role and command are joined by `or`: the weaker one wins.
select format('%s has %s permissive policies for %s', p.polrelid::regclass, count(*), r.role::regrole) as finding,
  'make all but one of them restrictive, or drop them' as remedy
from pg_policy p
cross join lateral unnest(p.polroles) as r (role)
cross join lateral unnest(case p.polcmd when '*' then array['r', 'a', 'w', 'd'] else array[p.polcmd::text] end) as c (command)
where p.polpermissive
group by p.polrelid, r.role, c.command
having count(*) > 1
order by 1
