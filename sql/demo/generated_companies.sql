-- Generates companies whose names begin with a prefix, with users: the first is the admin and has a password.
-- $1 start of the names   $2 how many users each has   $3 hash of the admins' password
with company as (
  insert into companies (name, plan, domain)
  select $1 || lpad(n::text, greatest(4, length(n::text)), '0'), 'pro', 'company' || n || '.generated.example' from generate_subscripts($2::int[], 1) as n
  returning id, substring(name from '\d+$')::int as number
), person as (
  insert into users (company_id, email, first_name, last_name, user_role)
  select id, case n when 1 then 'admin' else 'member' || n end || '@company' || number || '.generated.example',
    case n when 1 then 'Admin' else 'Member ' || n end, 'of ' || number, case n when 1 then 'company_admin' else 'company_user' end
  from company cross join lateral generate_series(1, ($2::int[])[number]) as n
  returning id, user_role
), password as (
  insert into app.credentials (user_id, password_hash) select id, $3 from person where user_role = 'company_admin'
)
select id from company order by number
