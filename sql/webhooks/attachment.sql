-- A file that came with a mail, beside others of its name.   $1 file id   $2 name   $3 MIME type   $4 bytes   $5 SHA-256   $6 key in the store
insert into files (id, name, original_name, file_type, size, sha256, object_key, category)
values ($1, $2, $2, $3, $4, $5, $6, 'email') returning id
