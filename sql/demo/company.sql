-- $1 name   $2 domain   $3 city
insert into companies (name, domain, email, city, plan) values ($1, $2, 'office@' || $2, $3, 'pro') returning id
