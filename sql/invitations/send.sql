-- $1 email   $2 first name   $3 last name   $4 role   $5 hash of the token
insert into invitations (email, first_name, last_name, user_role, token_hash, expires_at)
values ($1, $2, $3, $4, $5, now() + interval '7 days')
returning id, (select name from companies) as company, app.is_suppressed('email', $1) as is_suppressed
