-- Quotes and their lines (contract: quotes).
set role ringfence_owner;

-- QT-<year>-<nnn>, counted by company and year. The lock is held until the transaction ends, so numbers are given in the
-- order of commits and one that is not used is given again.
create function app.next_quote_number() returns text language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  this_year int := extract(year from now() at time zone 'UTC');
  number int;
begin
  perform app.lock_name('quote number', this_year::text);
  select max(q.number) into number from public.quotes q where q.number_year = this_year;
  number := coalesce(number, 0) + 1;
  return format('QT-%s-%s', this_year, case when number < 1000 then lpad(number::text, 3, '0') else number::text end);
end $$;
grant execute on function app.next_quote_number() to ringfence_api;

create table quotes (
  id           uuid primary key default app.uuid_v7(),
  tenant_id    uuid not null,
  company_id   uuid,
  owner_id     uuid not null,
  quote_number text not null default app.next_quote_number() check (length(quote_number) <= 50),
  -- The parts of a number of the usual form; null in another.
  number_year  int generated always as (substring(quote_number from '^QT-(\d{4})-\d{3,9}$')::int) stored,
  number       int generated always as (substring(quote_number from '^QT-\d{4}-(\d{3,9})$')::int) stored,
  title        text not null check (length(title) <= 255),
  amount       numeric(15, 2) not null check (amount <> 'NaN'),
  status       text not null default 'draft' check (status in ('draft', 'sent', 'accepted', 'rejected', 'expired')),
  client_id    uuid,
  deal_id      uuid,
  valid_until  date,
  sent_at      timestamptz,
  accepted_at  timestamptz,
  description  text,
  terms        text,
  notes        text,
  is_deleted   boolean not null default false,
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now(),
  search_text  text collate "C" generated always as (lower(quote_number || ' ' || title)) stored,
  constraint quotes_client_fkey foreign key (tenant_id, client_id) references contacts (tenant_id, id)
    on delete set null (client_id) deferrable initially immediate,
  constraint quotes_deal_fkey foreign key (tenant_id, deal_id) references deals (tenant_id, id)
    on delete set null (deal_id) deferrable initially immediate
);
create index quotes_feed on quotes (tenant_id, created_at desc, id desc) include (company_id, owner_id) where not is_deleted;
create index quotes_status on quotes (tenant_id, status, created_at desc, id desc) include (company_id, owner_id) where not is_deleted;
create index quotes_client on quotes (tenant_id, client_id);
create index quotes_deal on quotes (tenant_id, deal_id);
create index quotes_title on quotes (tenant_id, title) where not is_deleted;
create index quotes_number on quotes (tenant_id, number_year, number);
-- A deleted quote keeps its number.
create unique index quotes_tenant_number_key on quotes (tenant_id, quote_number) where company_id is not null;
select app.protect('quotes', 'owner_id');

create table quote_lines (
  id          uuid primary key default app.uuid_v7(),
  tenant_id   uuid not null,
  company_id  uuid,
  owner_id    uuid not null,
  quote_id    uuid not null,
  position    int not null,
  description text not null check (length(description) <= 1000),
  quantity    numeric(12, 3) not null default 1 check (quantity > 0 and quantity <> 'NaN'),
  unit_price  bigint not null,                                                        -- minor units of the company's currency
  tax         numeric(5, 2) not null default 0 check (tax between 0 and 100),           -- percent of what is left after the discount
  discount    numeric(5, 2) not null default 0 check (discount between 0 and 100),      -- percent
  constraint quote_lines_quote_fkey foreign key (tenant_id, quote_id) references quotes (tenant_id, id)
    on delete cascade deferrable initially immediate
);
create index quote_lines_quote on quote_lines (tenant_id, quote_id, position) include (company_id, owner_id);
select app.protect('quote_lines', 'owner_id');

-- The first time a quote is sent or accepted is kept.
create function app.keep_quote_times() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.status = 'sent' then
    new.sent_at := coalesce(new.sent_at, now());
  elsif new.status = 'accepted' then
    new.accepted_at := coalesce(new.accepted_at, now());
  end if;
  return new;
end $$;
create trigger times before insert or update of status on quotes for each row execute function app.keep_quote_times();

-- A quote as the API shows it. A sub-select and no join, so that a list stays in the order of its index.
create view quote_card with (security_invoker = true) as
  select q.id, q.quote_number, q.title, q.amount::float8 as amount, q.status, q.client_id, q.deal_id, q.owner_id,
    q.valid_until::text as valid_until, q.description, q.terms, q.notes, q.sent_at, q.accepted_at,
    (select coalesce(jsonb_agg(jsonb_build_object('description', l.description, 'quantity', l.quantity::float8, 'unit_price', l.unit_price,
       'tax', l.tax::float8, 'discount', l.discount::float8) order by l.position), '[]')
     from public.quote_lines l where l.quote_id = q.id) as line_items,
    q.created_at, q.updated_at, q.is_deleted
  from public.quotes q;
grant select on quote_card to ringfence_api, ringfence_operator;

-- A title is used once in a company (contract: quotes). Only a new quote is held to it.
create function app.new_quote_title(title text) returns text language plpgsql as $$
begin
  perform app.lock_name('quote', title);
  if exists (select from public.quotes q where q.title = $1 and not q.is_deleted) then
    raise sqlstate 'RF400' using message = 'A quote with this title already exists';
  end if;
  return title;
end $$;
grant execute on function app.new_quote_title(text) to ringfence_api;

reset role;
