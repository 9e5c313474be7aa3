select count(*) from notifications where not is_deleted and not read
