-- Those that nobody has read are asked for every few seconds, and are few.
set role ringfence_owner;
create index notifications_unread on notifications (user_id, created_at desc, id desc) include (company_id) where not is_deleted and not read;
reset role;
