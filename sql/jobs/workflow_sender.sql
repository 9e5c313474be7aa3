-- Whether a number is one of the company's.   $1 number
select true from phone_numbers n where n.phone_number = $1 and n.is_active and not n.is_deleted and n.company_id is not null
union all
select true from twilio_settings s where s.phone_number = $1 and s.is_active and s.company_id is not null
limit 1
