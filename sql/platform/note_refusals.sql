-- $1 users   $2 routes   $3 reasons   $4 counts   $5 ids of the last requests
select app.note_refusals($1, $2, $3, $4, $5)
