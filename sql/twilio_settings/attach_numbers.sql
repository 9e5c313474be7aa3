-- Switches the numbers on again that were switched off with the company's settings of this account.   $1 account
select true from app.attach_numbers($1)
