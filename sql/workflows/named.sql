-- Refuses users and pipelines named by actions that are not the company's, and historical ones, which runs do not see.
-- $1 users   $2 pipelines
select app.found('User', n.id, (select u.id from users u where u.id = n.id and not u.is_deleted)) from unnest($1::uuid[]) as n (id)
union all
select app.found('Pipeline', n.id, (select p.id from pipelines p where p.id = n.id and not p.is_deleted
  and p.company_id is not null)) from unnest($2::uuid[]) as n (id)
