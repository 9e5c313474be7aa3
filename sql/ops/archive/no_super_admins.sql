-- An archive grants nobody rights over the platform.
-- $1 company
update users set user_role = 'company_admin' where company_id = $1 and user_role = 'super_admin'
