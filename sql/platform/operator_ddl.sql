-- Keeps operators and staff from changing the structure of the database. Run by `ringfence migrate` after the
-- migrations; safe to repeat. Not every administrator may create an event trigger: sql/lint/operator_ddl.sql says what
-- is possible without it.
do $$
begin
  if not exists (select from pg_event_trigger where evtname = 'refuse_ddl') then
    create event trigger refuse_ddl on ddl_command_start execute function app.refuse_ddl();
  elsif exists (select from pg_event_trigger where evtname = 'refuse_ddl' and evtenabled not in ('O', 'A')) then
    alter event trigger refuse_ddl enable;
  end if;
exception when insufficient_privilege then
  raise warning 'operators and staff may say statements behind which every company waits: a superuser must run `ringfence migrate`, which makes the event trigger refuse_ddl';
end $$
