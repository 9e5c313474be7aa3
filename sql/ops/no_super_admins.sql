-- Rights over the platform are given here and come with no file.
-- $1 company
update users set user_role = 'company_admin' where company_id = $1 and user_role = 'super_admin'
