-- The report is complete and written.
delete from ops.import_report
