-- Values that no client can read, and what an import that was interrupted has to say.
set role ringfence_owner;
grant select (tags), update (tags) on files, folders to ringfence_platform;
set role ringfence_platform;
update files set tags = array(select t from unnest(tags) t where t is not null)
where array_ndims(tags) > 1 or exists (select from unnest(tags) t where t is null);
update folders set tags = array(select t from unnest(tags) t where t is not null)
where array_ndims(tags) > 1 or exists (select from unnest(tags) t where t is null);
set role ringfence_owner;
revoke select (tags), update (tags) on files, folders from ringfence_platform;

-- Tags are a list of texts.
alter table files add constraint files_tags_list check (case when array_ndims(tags) > 1 then false else array_position(tags, null) is null end);
alter table folders add constraint folders_tags_list check (case when array_ndims(tags) > 1 then false else array_position(tags, null) is null end);

-- The next number, and behind the last one that has the usual form the first that nobody has.
create or replace function app.next_quote_number() returns text language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  this_year int := extract(year from now() at time zone 'UTC');
  number int;
begin
  perform app.lock_name('quote number', this_year::text);
  select max(q.number) into number from public.quotes q where q.number_year = this_year;
  if number = 999999999 then
    select coalesce(min(q.number), 0) into number from public.quotes q where q.number_year = this_year
      and not exists (select from public.quotes n where n.number_year = this_year and n.number = q.number + 1) and q.number < 999999999;
  end if;
  number := coalesce(number, 0) + 1;
  return format('QT-%s-%s', this_year, case when number < 1000 then lpad(number::text, 3, '0') else number::text end);
end $$;

-- What was changed and detached in rows that came over in runs that did not come to their end, until one does.
create table ops.import_report (
  table_name text not null,
  id         uuid,
  action     text not null,
  reason     text not null
);
alter table ops.import_report enable row level security, force row level security;
grant select, insert, delete on ops.import_report to ringfence_dba;
revoke update, truncate, references, trigger on ops.import_report from ringfence_dba;
reset role;
