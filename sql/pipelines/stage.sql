-- $1 stage id
select id, pipeline_id, name, description, order_index, probability, is_closed, is_won, is_active, is_deleted, created_at, updated_at
from pipeline_stages where id = $1 and not is_deleted
