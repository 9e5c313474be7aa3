-- How many workflows each new contact starts.
select count(*) from workflows where trigger = 'contact_created' and status = 'active' and not is_deleted and company_id is not null
