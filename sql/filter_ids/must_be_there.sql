-- Refuses an id that is not one of the caller's rows; deleted rows and former members count. Each may be null.
-- $1 contact   $2 deal   $3 folder   $4 owner   $5 user   $6 stage
select num_nonnulls(
  app.found('Contact', $1, (select c.id from contacts c where c.id = $1)),
  app.found('Deal', $2, (select d.id from deals d where d.id = $2)),
  app.found('Folder', $3, (select f.id from folders f where f.id = $3)),
  app.found('Owner', $4, coalesce((select u.id from users u where u.id = $4), (select m.user_id from members m where m.user_id = $4))),
  app.found('User', $5, coalesce((select u.id from users u where u.id = $5), (select m.user_id from members m where m.user_id = $5))),
  app.found('Stage', $6, (select s.id from pipeline_stages s where s.id = $6))) as named
