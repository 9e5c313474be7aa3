-- Which company each user is in there, also of the users who came over before: here they may be in another one by now.
insert into old_user_companies (user_id, company_id)
select distinct on (s.id) s.id, s.company_id from old_users s where s.id is not null order by s.id, s.n
