-- The policy shows only the caller's own company.
select file_count as files, storage_bytes as bytes from companies
