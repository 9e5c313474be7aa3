-- A company, or a user without one, has one conversation with a number: the existing one here, or else the first. It is
-- blocked if any of them was.
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
), here as (
  update conversations c set conversation_status = 'blocked', updated_at = now() from old_conversations s
  where s.problem is null and not s.is_deleted and s.conversation_status = 'blocked' and s.company_id is not null
    and c.tenant_id = s.tenant_id and c.to_number = s.to_number and c.company_id is not null and not c.is_deleted
    and c.conversation_status <> 'blocked'
  returning c.id
)
insert into old_report (table_name, id, action, reason)
select 'user_conversations', id, 'changed', 'another conversation with the number was blocked: it is' from changed
union all
select 'user_conversations', id, 'changed', 'a conversation with the number was blocked in the old database: it is' from here
