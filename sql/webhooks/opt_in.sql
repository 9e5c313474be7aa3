-- $1 number
delete from suppressions where channel = 'sms' and address = $1 and reason in ('stop', 'provider') returning id
