-- For tables without historical rows: company_id becomes not null, and the policy the plain one. There is no undo of
-- this. Run as a superuser, or as a member of ringfence_owner after: set role ringfence_owner.
call app.finish_backfill();
