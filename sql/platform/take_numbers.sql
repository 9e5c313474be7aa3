-- Those that another company goes on with.   $1 phone numbers in E.164, which a provider says are an account's   $2 that account
select number from app.take_numbers($1, $2) as t (number)
