-- $1 id   $2 status   $3 content type   $4 body, sealed
select app.keep_idempotent_answer($1, $2, $3, $4)
