-- The key of a file's content in the store.
-- $1 file id
select object_key, original_name, coalesce(size, 0) as size, coalesce(encode(sha256, 'hex'), id::text) as sha256
from files where id = $1 and not is_deleted
