-- Gives back recipients for whom the provider was not asked, because the claim's response was lost.
-- $1 campaign   $2 the claim
update campaign_recipients set state = 'pending', claim = null, attempts = attempts - 1
where campaign_id = $1 and claim = $2 and state = 'sending'
returning id
