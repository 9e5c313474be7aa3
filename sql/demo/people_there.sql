-- Whether any company exists, and which of these people do.
-- $1 e-mail addresses
select exists (select from companies) as any_company, array(select email from users where email = any($1) and not is_deleted) as emails
