-- $1 file   $2 object key   $3 bytes   $4 SHA-256
update files set object_key = $2, size = $3, sha256 = $4 where id = $1 and object_key is null
