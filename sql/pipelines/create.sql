-- $1 name   $2 description   $3 whether it becomes the default, or null
insert into pipelines (name, description, is_default) values ($1, $2, coalesce($3, false))
returning id, name, description, is_default, order_index, company_id, is_active, is_deleted, created_at, updated_at
