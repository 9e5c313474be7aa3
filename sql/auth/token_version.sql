select token_version from users where id = app.user_id()
