update users set token_version = token_version + 1 where id = app.user_id() returning token_version
