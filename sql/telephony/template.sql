-- The text of a template.   $1 id
select body, is_static from sms_templates where id = $1 and is_active and not is_deleted
