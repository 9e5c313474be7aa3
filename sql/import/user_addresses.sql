-- Of two accounts with the same address, the second cannot log in: it becomes deleted, and keeps its rows.
with ranked as (
  select s.n, row_number() over (partition by s.email order by s.n) > 1 or exists (select from users u where u.email = s.email and not u.is_deleted)
    as is_taken
  from old_users s where not s.is_deleted and s.problem is null
), changed as (
  update old_users s set is_deleted = true from ranked r where r.n = s.n and r.is_taken returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'users', id, 'changed', 'another account has its address: it is deleted here, and its rows stay' from changed
