-- $1 the ids that end the objects' keys   $2 deleted files stay from here on
select object_key from app.kept_objects($1, $2)
