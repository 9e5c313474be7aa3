-- As app.identify() and app.had_store() have it, for an administrator. $1 files
select i.id, exists (select from files f where f.id = any ($1)) as has_one,
  i.has_store or exists (select from files f where f.object_key is not null) as had_store
from ops.database_identity i
