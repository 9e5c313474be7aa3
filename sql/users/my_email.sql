select email from users where id = app.user_id() and not is_deleted
