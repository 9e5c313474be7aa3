-- The account of a person who was erased here is imported as erasure leaves it, so that rows it owns have their user.
with changed as (
  update old_users s set is_deleted = true, first_name = 'Deleted', last_name = 'user', email = 'deleted-' || s.id || '@deleted.invalid',
    phone = null, title = null, department = null, location = null, bio = null, avatar = null
  where exists (select from ops.erased_addresses) and ops.was_erased(s.company_id, s.email) returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'users', id, 'changed', 'the person was erased here: it has no name and no address' from changed
