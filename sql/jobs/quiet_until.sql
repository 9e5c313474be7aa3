-- The end of the quiet hours for a number, if it is night there.   $1 number
select app.quiet_until($1) as until where app.quiet_until($1) is not null
