-- $1 kinds   $2 how many at most   $3 of one company at a time   $4 of one kind of those   $5, $6 companies and kinds of those under way
select id, company_id, user_id, kind, record_id from app.claim_jobs($1, $2, $3, $4, $5, $6)
