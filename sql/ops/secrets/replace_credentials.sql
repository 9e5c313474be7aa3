-- Replaces sealed values by resealed ones; a value that was changed meanwhile stays.
-- $1 companies   $2 names   $3 sealed before   $4 sealed anew
update app.company_secrets s set sealed = n.sealed
from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[]) as n (company_id, name, was, sealed)
where s.company_id = n.company_id and s.name = n.name and s.sealed = n.was
