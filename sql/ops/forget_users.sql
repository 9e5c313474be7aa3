-- The users that no other company has rows of.
-- $1 company
delete from users u where u.company_id = $1 and not exists (select from members m where m.user_id = u.id)
