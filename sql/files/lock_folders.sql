-- Who changes the tree of folders waits for the others who do.
select true from app.lock_name('folders', '')
