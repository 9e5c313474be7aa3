-- In a statement of its own: the next one sees what this one has waited for, such as the text that is under way.   $1
-- id
select id from scheduled_sms where id = $1 for no key update
