-- Takes back what a number has said. What an admin has entered besides stays.   $1 number
with said as (
  delete from suppressions where channel = 'sms' and address = $1 and reason in ('stop', 'provider') and not also_admin
)
update suppressions set reason = 'admin', also_admin = false
where channel = 'sms' and address = $1 and reason in ('stop', 'provider') and also_admin
returning id
