-- A user without a password gets the empty hash, which no password fits.
select coalesce(app.my_password_hash(), '')
