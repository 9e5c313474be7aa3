-- The numbers that another company goes on using.
-- $1 E.164 numbers that a provider says are an account's   $2 that account
select number from app.take_numbers($1, $2) as t (number)
