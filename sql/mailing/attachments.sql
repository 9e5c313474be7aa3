-- A mail's attachments, in their order.   $1 files
select f.id, f.object_key, f.original_name, f.file_type, coalesce(f.size, 0) as size
from unnest($1::uuid[]) with ordinality g (id, place) join files f on f.id = g.id
where not f.is_deleted and f.object_key is not null
order by g.place
