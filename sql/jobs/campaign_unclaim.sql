-- Gives back whom nobody was asked for, because it was not heard whether they were claimed.   $1 campaign   $2 the claim
update campaign_recipients set state = 'pending', claim = null, attempts = attempts - 1
where campaign_id = $1 and claim = $2 and state = 'sending'
returning id
