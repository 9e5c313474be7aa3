-- $1 name   $2 description   $3 trigger   $4 status   $5 actions   $6 conditions   $7 schedule
-- $8 how often at most: each of these two or null
insert into workflows (name, description, trigger, status, actions, conditions, schedule, max_executions) values ($1, $2, $3, $4, $5, $6, $7, $8)
returning id
