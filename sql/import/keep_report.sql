-- What this run has said so far and was not kept before.
insert into ops.import_report select * from old_report where action <> 'left out' except select * from ops.import_report
