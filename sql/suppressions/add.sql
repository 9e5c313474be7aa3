-- An admin's entry stays when its owner, who had opted out before, says START.
-- $1 channel   $2 address   $3 note
insert into suppressions (channel, address, reason, note) values ($1, $2, 'admin', $3)
on conflict (tenant_id, channel, address) where company_id is not null do update
  set reason = excluded.reason, note = coalesce(excluded.note, suppressions.note)
returning id, channel, address, reason, note, created_at
