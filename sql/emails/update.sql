-- Changes a mail that is not sent yet; returns whether it did.   $1 id   $2 subject   $3 body   $4 status
with changed as (
  update emails set subject = coalesce($2, subject), body = coalesce($3, body), status = coalesce($4, status), updated_at = now()
  where id = $1 and not is_deleted and not is_sending and status in ('draft', 'scheduled')
  returning id
)
select exists (select from changed) as is_changed from emails where id = $1 and not is_deleted
