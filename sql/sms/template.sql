-- $1 template id
select id, name, category, body, is_static, use_ai_enhancement, usage_count, created_at
from sms_templates where id = $1 and not is_deleted
