-- $1 pipeline id   $2 name   $3 description   $4 place   $5 probability   $6 closed   $7 won
insert into pipeline_stages (pipeline_id, name, description, order_index, probability, is_closed, is_won)
select p.id, $2, $3, $4, coalesce($5, 0::float8), coalesce($6, false), coalesce($7, false)
from pipelines p where p.id = $1 and not p.is_deleted
returning id, pipeline_id, name, description, order_index, probability, is_closed, is_won, is_active, is_deleted, created_at, updated_at
