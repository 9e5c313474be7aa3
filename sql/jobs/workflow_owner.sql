-- The owner of the workflow, who is given what its run makes. One who has left or moved is refused, as wherever a record is given away.
select app.found_owner((select app.user_id())) as id
