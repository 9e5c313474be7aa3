-- $1 deal id
select h.id, h.from_stage_id, (select s.name from pipeline_stages s where s.id = h.from_stage_id) as from_stage,
  h.to_stage_id, (select s.name from pipeline_stages s where s.id = h.to_stage_id) as to_stage,
  h.user_id, (select concat_ws(' ', u.first_name, u.last_name) from users u where u.id = h.user_id) as user_name, h.created_at
from deal_stage_history h
where h.deal_id = $1
order by h.created_at desc, h.id desc
