-- Users who have no company. For the platform's staff; that it was asked is written into app.staff_log.
select * from app.staff_users_without_company();
