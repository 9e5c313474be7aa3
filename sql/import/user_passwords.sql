-- A hash that cannot be verified becomes one that nothing matches; the user resets the password by mail.
with changed as (
  update old_users s set hashed_password = '!' where s.hashed_password is null or s.hashed_password !~ '^\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}$'
  returning s.id, s.is_deleted
)
insert into old_report (table_name, id, action, reason)
select 'users', id, 'changed', 'the password hash is not bcrypt: the user has to reset it' from changed where not is_deleted
