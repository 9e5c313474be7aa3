-- The copy is another database than the one that was backed up, and the store of files is that one's.
update ops.database_identity set id = gen_random_uuid()
