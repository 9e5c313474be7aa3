-- A company, or a user without one, has one conversation with a number: the first stays. It is blocked if one of them was.
with same as (
  select s.n, row_number() over (those order by s.n) as place, bool_or(s.conversation_status = 'blocked') over those as is_blocked
  from old_conversations s where s.problem is null and not s.is_deleted
  window those as (partition by s.tenant_id, s.company_id, case when s.company_id is null then s.user_id end, s.to_number)
), left_out as (
  update old_conversations s set problem = 'another conversation of its user is with the number' from same
  where same.n = s.n and same.place > 1 and s.company_id is null
), changed as (
  update old_conversations s set conversation_status = 'blocked' from same
  where same.n = s.n and same.place = 1 and same.is_blocked and s.conversation_status <> 'blocked'
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'user_conversations', id, 'changed', 'another conversation with the number was blocked: it is' from changed
