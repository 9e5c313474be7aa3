-- All of it was told.
set role ringfence_dba;
delete from ops.import_report;
