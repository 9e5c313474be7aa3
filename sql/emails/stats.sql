-- Figures of mail that is not deleted.
select count(*) as total, count(*) filter (where direction = 'inbound' and read_at is null) as unread,
  count(*) filter (where direction = 'outbound' and user_id = (select app.user_id())
    and status in ('sent', 'delivered', 'opened', 'clicked', 'bounced')) as sent,
  count(*) filter (where status = 'draft') as drafts
from emails where not is_deleted
