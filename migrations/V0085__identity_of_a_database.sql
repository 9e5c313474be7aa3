-- Which database this is, so that a store of files is one database's; and taxes and discounts of more than two decimals.
set role ringfence_owner;

-- A copy by `ringfence restore` gets another one. The store has it in the object `ringfence-database` (src/store.rs).
create table ops.database_identity (
  id uuid not null default gen_random_uuid()
);
insert into ops.database_identity default values;
alter table ops.database_identity enable row level security, force row level security;
create policy platform on ops.database_identity to ringfence_platform using (true);
grant select on ops.database_identity to ringfence_platform;
grant select on ops.database_identity to ringfence_dba;
revoke insert, update, delete, truncate, references, trigger on ops.database_identity from ringfence_dba;

-- Neither a rate such as 8.875 % nor a third of a price has two decimals. The view is of the column, so it is without it
-- meanwhile. Rows are as they were: no table is written anew.
create or replace view quote_card with (security_invoker = true) as
  select q.id, q.quote_number, q.title, q.amount::float8 as amount, q.status, q.client_id, q.deal_id, q.owner_id,
    case when isfinite(q.valid_until) then greatest(least(q.valid_until, date '9999-12-31'), date '0001-01-01')::text end as valid_until,
    q.description, q.terms, q.notes, q.sent_at, q.accepted_at, '[]'::jsonb as line_items, q.created_at, q.updated_at, q.is_deleted
  from public.quotes q;
alter table quote_lines alter column tax type numeric, alter column discount type numeric;
create or replace view quote_card with (security_invoker = true) as
  select q.id, q.quote_number, q.title, q.amount::float8 as amount, q.status, q.client_id, q.deal_id, q.owner_id,
    case when isfinite(q.valid_until) then greatest(least(q.valid_until, date '9999-12-31'), date '0001-01-01')::text end as valid_until,
    q.description, q.terms, q.notes, q.sent_at, q.accepted_at,
    (select coalesce(jsonb_agg(jsonb_build_object('description', l.description, 'quantity', l.quantity::float8, 'unit_price', l.unit_price,
       'tax', l.tax::float8, 'discount', l.discount::float8) order by l.position), '[]')
     from public.quote_lines l where l.quote_id = q.id) as line_items,
    q.created_at, q.updated_at, q.is_deleted
  from public.quotes q;

reset role;

-- The database's identity, and whether it has one of these files, be it deleted.
create function app.identify(files uuid[], out id uuid, out has_one boolean) language sql stable
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
  select i.id, exists (select from public.files f where f.id = any (files)) from ops.database_identity i
$$;
revoke execute on function app.identify(uuid[]) from public;
alter function app.identify(uuid[]) owner to ringfence_platform;
grant execute on function app.identify(uuid[]) to ringfence_api;
