-- $1, $2 the batch
insert into app.credentials (user_id, password_hash)
select s.id, s.hashed_password from old_users s join users u on u.id = s.id
where s.n > $1 and s.n <= $2 and s.problem is null and not u.is_deleted
