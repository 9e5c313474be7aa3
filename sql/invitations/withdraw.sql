-- $1 invitation id
delete from invitations where id = $1 returning id
