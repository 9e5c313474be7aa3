-- Like the API's login, with its rights and settings but without policies: what is compared must differ in nothing
-- else.
do $$
declare
  setting text;
begin
  if to_regrole('ringfence_unpoliced') is null then
    create role ringfence_unpoliced login bypassrls in role ringfence_api;
  end if;
  for setting in select unnest(setconfig) from pg_db_role_setting where setrole = 'ringfence_api'::regrole and setdatabase = 0 loop
    execute format('alter role ringfence_unpoliced set %I = %L', split_part(setting, '=', 1), substring(setting from position('=' in setting) + 1));
  end loop;
end $$;

-- What sql/analytics/dashboard.sql calls under the policies, with the company given by hand.
create schema if not exists by_hand;
grant usage on schema by_hand to ringfence_unpoliced;
create or replace function by_hand.deals_beside_weeks(company uuid, starts timestamptz, ends timestamptz)
  returns table (owner_id uuid, pipeline_id uuid, stage_id uuid, status text, deals bigint, value numeric, stage_seconds bigint,
    running bigint, closed bigint, closed_seconds bigint)
  language sql stable
  begin atomic
    with whole as materialized (
      select w.first, w.until from app.whole_weeks($2, $3) w
    )
    select d.owner_id, d.pipeline_id, d.stage_id, d.status, m.deals, m.value, m.stage_seconds, m.running, m.closed, m.closed_seconds
    from public.deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
    where d.tenant_id = $1 and not d.is_deleted and d.created_at >= $2 and d.created_at < (select least($3, w.first) from whole w)
    union all
    select d.owner_id, d.pipeline_id, d.stage_id, d.status, m.deals, m.value, m.stage_seconds, m.running, m.closed, m.closed_seconds
    from public.deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
    where d.tenant_id = $1 and not d.is_deleted and d.created_at < $3 and d.created_at >= (select greatest(w.until, least($3, w.first)) from whole w);
  end;
grant execute on all functions in schema by_hand to ringfence_unpoliced;
