-- The copy is another database than the original, which owns the store of files.
update ops.database_identity set id = gen_random_uuid(), has_store = false
