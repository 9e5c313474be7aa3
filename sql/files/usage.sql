-- The caller's own company is the only one that the policy shows.
select file_count as files, storage_bytes as bytes from companies
