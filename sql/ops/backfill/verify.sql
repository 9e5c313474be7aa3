-- Compares the rows that each company and its users had before with their present ones. `problem` is set if a company
-- has a row that it did not have and others lack, or if a conversation does not match its texts; `note` tells what
-- people have changed since. First: set role ringfence_dba.
select * from app.verify_backfill() union all select * from app.verify_conversations();
