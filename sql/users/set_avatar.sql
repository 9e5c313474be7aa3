-- $1 the picture as a data URL
update users set avatar = $1, updated_at = now() where id = app.user_id() and not is_deleted returning id
