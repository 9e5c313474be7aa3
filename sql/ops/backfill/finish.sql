-- Tables without historical rows: company_id is not null from now on, and the policy is the plain one. After this there is
-- no undo of them. As a superuser, or a member of ringfence_owner after: set role ringfence_owner.
call app.finish_backfill();
