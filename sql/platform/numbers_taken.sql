-- Those that another company works with.   $1 phone numbers in E.164
select number from app.numbers_taken($1)
