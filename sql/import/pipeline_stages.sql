-- A stage belongs to the owner of its pipeline.
update old_pipeline_stages s set company_id = p.company_id, owner_id = p.owner_id, problem = case when p.id is null then 'its pipeline did not come over' end
from old_pipeline_stages x left join pipelines p on p.id = x.pipeline_id
where x.n = s.n
