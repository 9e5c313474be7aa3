-- Adds the rows of a file; answers the places in the arrays of those that are in, the others' addresses exist already.
-- $1 first names   $2 last names   $3 emails   $4 phones   $5 employers   $6 titles   $7 types   $8 owners
with given as (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[])
    with ordinality as g (first_name, last_name, email, phone, company, title, type, owner_id, place)
), added as (
  insert into contacts (first_name, last_name, email, phone, company, title, type, owner_id)
  select first_name, last_name, email, phone, company, title, type, coalesce(owner_id, app.user_id()) from given order by place
  on conflict (tenant_id, lower(email)) where not is_deleted and company_id is not null do nothing
  returning email
)
select place from given g join added using (email) order by place
