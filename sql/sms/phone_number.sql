-- $1 id
select phone_number from phone_numbers where id = $1 and not is_deleted
