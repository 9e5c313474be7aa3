-- What an admin enters stays when its owner says START, who had opted out before; what the owner has said stays, too.
-- $1 channel   $2 address   $3 note
insert into suppressions (channel, address, reason, note) values ($1, $2, 'admin', $3)
on conflict (tenant_id, channel, address) where company_id is not null do update
  set also_admin = suppressions.reason <> 'admin', note = coalesce(excluded.note, suppressions.note)
returning id, channel, address, reason, note, created_at
