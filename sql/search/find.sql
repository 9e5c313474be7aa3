-- Records that contain a text, newest of each kind first.
-- $1 text   $2 maximum number of each kind
(select 'contact' as kind, id, concat_ws(' ', first_name, last_name) as title, company as subtitle, created_at
 from app.contacts_containing(app.contains($1)) where not is_deleted order by created_at desc, id desc limit $2)
union all
(select 'deal', id, title, company, created_at
 from app.deals_containing(app.contains($1)) where not is_deleted order by created_at desc, id desc limit $2)
union all
(select 'quote', id, title, quote_number, created_at
 from app.quotes_containing(app.contains($1)) where not is_deleted order by created_at desc, id desc limit $2)
union all
(select 'file', id, name, category, created_at
 from app.files_containing(app.contains($1)) where not is_deleted order by created_at desc, id desc limit $2)
