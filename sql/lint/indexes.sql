-- The policy's condition must be on the first column of every index: otherwise a list walks over all companies' rows, and
-- `explain analyze` tells an operator whether there is a row with the value that they guess, which the index finds before
-- the policy is asked. A key of all companies is over app.global_key, which waits for the policy.
select format('index %s of %s does not lead with tenant_id', i.indexrelid::regclass, i.indrelid::regclass) as finding,
  'lead it with tenant_id, or make it of app.global_key(…)' as remedy
from pg_index i
join pg_policy p on p.polrelid = i.indrelid and p.polname = 'operator'
where pg_get_indexdef(i.indexrelid, 1, true) not in ('tenant_id', 'id')
  and not (i.indrelid = 'public.users'::regclass and pg_get_indexdef(i.indexrelid, 1, true) = 'company_id')
  and (pg_get_indexdef(i.indexrelid, 1, true) !~ '^app\.global_key\(' or exists (
    select from pg_proc f where f.oid = 'app.global_key(text)'::regprocedure and (f.proleakproof or f.prolang <> (select oid from pg_language where lanname = 'plpgsql'))))
  -- The queue, which app.claim_jobs asks across companies: it holds times only. The other one holds hashes of 256 random bits.
  and i.indexrelid::regclass::text not in ('jobs_due', 'invitations_token_key')
order by 1
