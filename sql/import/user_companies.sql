-- The old company of each user, including users imported earlier, who may be in another company here by now.
insert into old_user_companies (user_id, company_id)
select distinct on (s.id) s.id, s.company_id from old_users s where s.id is not null order by s.id, s.n
