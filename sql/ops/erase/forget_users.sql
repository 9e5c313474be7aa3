-- Deletes the users whom no other company has rows of, and earlier leavers who no longer belong to any company.
-- $1 company
delete from users u where (u.company_id = $1 or ops.is_nameless(u)) and not exists (select from members m where m.user_id = u.id)
