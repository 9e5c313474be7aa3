-- In a copy: a version that no token has which was ended since the copy was made, nor one of an earlier copy of it.
-- $1 company, or null for all
update users set token_version = greatest(token_version + 1, extract(epoch from now() - timestamptz '2020-01-01 00:00:00+00')::int)
where $1::uuid is null or company_id = $1
