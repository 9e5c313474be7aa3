-- A newer invitation replaces the earlier ones, even if it grants less.   $1 invitation id   $2 email
delete from invitations where email = $2 and id <> $1 and accepted_at is null and created_at < (select i.created_at from invitations i where i.id = $1)
returning id
