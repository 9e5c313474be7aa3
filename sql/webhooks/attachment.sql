-- A file attached to a mail, which may share its name with others; it belongs to the sender's contact, if there is one.
-- $1 file id   $2 name   $3 MIME type   $4 bytes   $5 SHA-256   $6 key in the store   $7 the mail
insert into files (id, name, original_name, file_type, size, sha256, object_key, category, contact_id)
values ($1, $2, $2, $3, $4, $5, $6, 'email', (select e.contact_id from emails e where e.id = $7)) returning id
