-- The policy's condition must be on the first column of every index: otherwise a list reads all companies' rows, and
-- `explain analyze` shows an operator whether a guessed value exists, because the index finds the row before the policy
-- is evaluated. A key across companies is on app.global_key, which is evaluated after the policy.
select format('index %s of %s does not lead with tenant_id', i.indexrelid::regclass, i.indrelid::regclass) as finding,
  'lead it with tenant_id, or make it of app.global_key(…)' as remedy
from pg_index i
join pg_policy p on p.polrelid = i.indrelid and p.polname = 'operator'
where pg_get_indexdef(i.indexrelid, 1, true) not in ('tenant_id', 'id')
  and not (i.indrelid = 'public.users'::regclass and pg_get_indexdef(i.indexrelid, 1, true) = 'company_id')
  and (pg_get_indexdef(i.indexrelid, 1, true) !~ '^app\.global_key\(' or exists (
    select from pg_proc f where f.oid = 'app.global_key(text)'::regprocedure and (f.proleakproof or f.prolang <> (select oid from pg_language where lanname = 'plpgsql'))))
  -- app.claim_jobs reads the queue across companies: the index has times only. The other one has hashes of 256 random
  -- bits.
  and i.indexrelid::regclass::text not in ('jobs_due', 'invitations_token_key')
order by 1
