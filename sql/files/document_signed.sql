-- $1 owner   $2 contact: each or null   $3 what was said of the document
select true from app.fire('document_signed', app.found_contact($2),
  $3::jsonb || jsonb_build_object('owner_id', app.found('User', $1, (select u.id from users u where u.id = $1 and not u.is_deleted))))
