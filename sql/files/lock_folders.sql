-- Serializes changes to the folder tree.
select true from app.lock_name('folders', '')
