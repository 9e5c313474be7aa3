-- Probabilities in percent.
with changed as (
  update old_pipeline_stages s set probability = case when s.probability = 'NaN' then 0 else least(greatest(s.probability, 0), 100) end
  where s.probability not between 0 and 100
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'pipeline_stages', id, 'changed', 'the probability is outside 0 to 100: the nearest of them' from changed
