-- $1 pipeline id   $2 the columns to change
update pipelines p set updated_at = now(), (name, description, is_default) = (
  select n.name, n.description, n.is_default from jsonb_populate_record(p, $2) n)
where p.id = $1 and not p.is_deleted
returning id, name, description, is_default, order_index, company_id, is_active, is_deleted, created_at, updated_at
