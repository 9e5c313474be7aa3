-- $1 name   $2 companies   $3 whether they write   $4 whether they see personal data   $5 the password's SCRAM verifier
select app.add_operator($1::text::name, $2::text[], $3, $4, $5)
