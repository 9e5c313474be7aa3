-- Templates, most used first.
select id, name, category, body, is_static, use_ai_enhancement, usage_count, created_at
from sms_templates where is_active and not is_deleted
order by usage_count desc, created_at, id
