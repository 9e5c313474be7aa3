-- $1 kinds   $2 maximum number   $3 maximum per company   $4 of these, maximum per kind
-- $5, $6 companies and kinds of jobs in progress
select id, company_id, user_id, kind, record_id from app.claim_jobs($1, $2, $3, $4, $5, $6)
