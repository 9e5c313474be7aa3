-- $1 owner   $2 contact: each or null   $3 what was said of the document
select true from app.fire('document_signed',
  app.found('Contact', $2, (select c.id from contacts c where c.id = $2 and not c.is_deleted)),
  $3::jsonb || jsonb_build_object('owner_id', app.found('User', $1, (select u.id from users u where u.id = $1 and not u.is_deleted))))
