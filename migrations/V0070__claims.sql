set role ringfence_owner;
-- Who claimed a recipient: a worker that does not hear whether its claim was committed can give back what it would have sent.
alter table campaign_recipients add column claim uuid;
grant update (claim) on campaign_recipients to ringfence_api;
reset role;
