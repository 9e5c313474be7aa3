-- As app.note_store() has it, for an administrator.
update ops.database_identity set has_store = true where not has_store
