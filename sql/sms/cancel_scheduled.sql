-- Cancels what has not begun; answers whether it had.   $1 id
with cancelled as (
  update scheduled_sms set is_cancelled = true, updated_at = now() where id = $1 and not is_sent returning id
)
select not exists (select from cancelled) as too_late from scheduled_sms where id = $1
