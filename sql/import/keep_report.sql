-- Keeps what this run has reported so far and was not kept before.
insert into ops.import_report select * from old_report where action <> 'left out' except select * from ops.import_report
