-- $1 name   $2 category   $3 body   $4 static   $5 variables   $6 use AI   $7 tone
insert into sms_templates (name, category, body, is_static, variables, use_ai_enhancement, ai_tone)
values ($1, $2, $3, $4, $5, $6, $7)
returning id, name, category, body, is_static, use_ai_enhancement, usage_count, created_at
