-- $1 company   $2 its row as JSON   $3 whether its status stays
update companies c set storage_bytes = ($2::text::json ->> 'storage_bytes')::bigint, file_count = ($2::text::json ->> 'file_count')::bigint,
  status = case when $3 then c.status else 'suspended' end
where c.id = $1
