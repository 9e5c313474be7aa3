-- Parses a time kept as text, with or without an offset, and replaces an unknown status and a company that was not
-- imported.
with changed as (
  update old_users s set
    last_login = case when t.last_login >= '0001-01-01' and t.last_login < '10000-01-01' then t.last_login end,
    status = case when s.status in ('active', 'suspended', 'pending') then s.status else 'suspended' end,
    user_role = coalesce(nullif(btrim(s.user_role), ''), 'Regular User'),
    company_id = (select c.id from companies c where c.id = s.company_id)
  from old_users was cross join lateral (
    select case when was.last_login_text ~ '^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d*)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?$'
      then ((left(was.last_login_text, 8) || '01')::date + substr(was.last_login_text, 9, 2)::int - 1 + substr(was.last_login_text, 12, 8)::time)
        at time zone 'UTC' - coalesce(substring(was.last_login_text from '([+-]\d{2})(?::?\d{2})?$') || ':' || coalesce(substring(was.last_login_text from '[+-]\d{2}:?(\d{2})$'), '00'), '00:00')::interval end
      as last_login) t
  where was.n = s.n
  returning s.id, was.status as old_status, s.status, was.company_id as old_company, s.company_id,
    s.last_login is null and btrim(s.last_login_text) <> '' as is_no_time
)
insert into old_report (table_name, id, action, reason)
select 'users', c.id, 'changed', 'the status is none of today''s: suspended' from changed c where c.status is distinct from c.old_status
union all
select 'users', c.id, 'detached', 'the company did not come over' from changed c where c.company_id is distinct from c.old_company
union all
select 'users', c.id, 'changed', 'last_login is no time: it has none' from changed c where c.is_no_time
