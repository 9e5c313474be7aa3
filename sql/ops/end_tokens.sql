-- For a copy: sets a version above those of tokens revoked since the copy was made, also in an earlier copy.
-- $1 company, or null for all
update users set token_version = greatest(token_version + 1, extract(epoch from now() - timestamptz '2020-01-01 00:00:00+00')::int)
where $1::uuid is null or company_id = $1
