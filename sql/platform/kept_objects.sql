-- $1 the ids at the end of the objects' keys   $2 files deleted before this are not kept
select object_key from app.kept_objects($1, $2)
