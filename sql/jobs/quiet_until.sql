-- The end of the quiet hours for a number, if they are in force.   $1 number
select app.quiet_until($1) as until where app.quiet_until($1) is not null
