-- The folders of mail that hold little of it (contract: emails): a page of one reads no more of a large company than of a small one.
set role ringfence_owner;

create index emails_drafts on emails (tenant_id, created_at desc, id desc) include (company_id, user_id) where status = 'draft' and not is_deleted;
create index emails_trash on emails (tenant_id, created_at desc, id desc) include (company_id, user_id) where is_deleted;
create index emails_of_sender on emails (tenant_id, user_id, created_at desc, id desc) include (company_id)
  where direction = 'outbound' and not is_deleted and status in ('sent', 'delivered', 'opened', 'clicked', 'bounced');

reset role;
