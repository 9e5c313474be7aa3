select app.my_password_hash()
