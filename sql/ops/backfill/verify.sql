-- Compares what each company and its users had before with what is there now. `problem` is empty unless a company has rows that
-- it had not and others lack, or conversations are not as their texts are; `note` is what people have done since. First:
-- set role ringfence_dba.
select * from app.verify_backfill() union all select * from app.verify_conversations();
