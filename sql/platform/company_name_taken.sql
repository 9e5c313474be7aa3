-- $1 name
select app.company_name_taken($1)
