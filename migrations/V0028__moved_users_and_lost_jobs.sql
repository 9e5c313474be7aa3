-- What a user who has moved to another company shows to the work of the old one: nothing. And a job that ends its worker
-- each time is not claimed for ever.

-- Who has a company is seen by that company alone. A job runs in the name of the user of its row, who may be elsewhere by now.
set role ringfence_owner;
alter policy colleagues on users
  using (company_id = (select app.company_id()) or (id = (select app.user_id()) and (select app.company_id()) is null))
  with check (company_id = (select app.company_id()) or (id = (select app.user_id()) and (select app.company_id()) is null));
reset role;

-- Takes jobs that are due, turn by turn from each company, so that a company with many does not hold up the others; `busy`
-- ones have enough under way. A worker that died with a job has not told why: after ten claims the job is given up.
create or replace function app.claim_jobs(kinds text[], "limit" int, busy uuid[])
  returns table (id uuid, company_id uuid, user_id uuid, kind text, record_id uuid) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with recursive tenant as (
      (select j.tenant_id from public.jobs j
        where j.failed_at is null and exists (select from public.jobs d where d.failed_at is null and d.run_at <= now())
        order by j.tenant_id limit 1)
      union all
      select (select j.tenant_id from public.jobs j where j.failed_at is null and j.tenant_id > t.tenant_id order by j.tenant_id limit 1)
      from tenant t where t.tenant_id is not null
    ), due as (
      select d.id, row_number() over (partition by t.tenant_id order by d.run_at) as turn, d.run_at
      from tenant t, lateral (
        select j.id, j.run_at from public.jobs j
        where j.tenant_id = t.tenant_id and j.failed_at is null and j.run_at <= now() and j.kind = any ($1)
        order by j.run_at limit $2 for update skip locked) d
      where t.tenant_id <> all ($3)
    ), taken as (
      select due.id from due order by due.turn, due.run_at limit $2
    ), claimed as (
      update public.jobs j set run_at = now() + interval '5 minutes', attempts = j.attempts + (j.attempts < 10)::int,
        failed_at = case when j.attempts >= 10 then now() end,
        last_error = case when j.attempts >= 10 then format('given up after %s claims', j.attempts) else j.last_error end
      from taken where j.id = taken.id
      returning j.id, j.company_id, j.user_id, j.kind, j.record_id, j.failed_at
    )
    select c.id, c.company_id, c.user_id, c.kind, c.record_id from claimed c where c.failed_at is null;
  end;
