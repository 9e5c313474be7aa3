-- The owner of the workflow, who gets what its run creates. An owner who has left or moved is refused, as for any new
-- owner of a record.
select app.found_owner((select app.user_id())) as id
