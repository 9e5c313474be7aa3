-- $1 id   $2 name   $3 category   $4 body   $5 static   $6 variables   $7 use AI   $8 tone
update sms_templates set name = $2, category = $3, body = $4, is_static = $5, variables = $6, use_ai_enhancement = $7, ai_tone = $8,
  updated_at = now()
where id = $1 and not is_deleted
returning id, name, category, body, is_static, use_ai_enhancement, usage_count, created_at
