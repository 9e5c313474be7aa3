-- The keys under which credentials are sealed, and how many of each.
select id, credentials from app.sealing_keys()
