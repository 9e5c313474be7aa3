-- $1 first name   $2 last name   $3 email   $4 phone   $5 employer   $6 title   $7 type
-- $8 owner, or null for the caller
insert into contacts (first_name, last_name, email, phone, company, title, type, owner_id)
values ($1, $2, $3, $4, $5, $6, coalesce($7, 'Lead'), coalesce(app.found_owner($8), app.user_id()))
returning first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
