-- The users that no other company has rows of, and those who had left before and are nobody's any more.
-- $1 company
delete from users u where (u.company_id = $1 or ops.is_nameless(u)) and not exists (select from members m where m.user_id = u.id)
