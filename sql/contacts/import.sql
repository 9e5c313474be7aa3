-- Adds the rows of a file; returns the ids of those that were not added because their address exists in the company or
-- earlier in the file. The ids increase in the file's order, which lists follow.
-- $1 ids   $2 first names   $3 last names   $4 emails   $5 phones   $6 employers   $7 titles   $8 types
-- $9 owners: each or null for the caller
with given as (
  select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[])
    as g (id, first_name, last_name, email, phone, company, title, type, owner_id)
), added as (
  insert into contacts (id, first_name, last_name, email, phone, company, title, type, owner_id)
  select id, first_name, last_name, email, phone, company, title, type, coalesce(owner_id, app.user_id()) from given
  on conflict (tenant_id, lower(email)) where not is_deleted and company_id is not null do nothing
  returning id
)
select id from given except all select id from added
