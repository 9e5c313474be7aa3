-- Nothing matches this hash; the user resets the password by mail.
-- $1 company
insert into app.credentials (user_id, password_hash)
select u.id, '!' from users u where u.company_id = $1 and not u.is_deleted
on conflict do nothing
