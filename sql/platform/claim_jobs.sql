-- $1 kinds   $2 how many at most   $3 companies with enough under way
select id, company_id, user_id, kind, record_id from app.claim_jobs($1, $2, $3)
