-- Reduces an address to the part in the brackets after a name, without blanks of any kind.
with changed as (
  update old_users s set email = b.email
  from (select u.n, lower(app.bare_address(coalesce(substring(u.email from '<([^<>]*)>[^<>]*$'), u.email))) as email from old_users u) b
  where b.n = s.n and b.email <> s.email
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'users', id, 'changed', 'the address had a name or blanks around it: it is without them' from changed
