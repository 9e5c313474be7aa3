-- The addresses of the accounts to be imported.
select s.id, s.email from old_users s where s.problem is null and not s.is_deleted
