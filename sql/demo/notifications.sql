-- $1 company
insert into notifications (tenant_id, company_id, user_id, title, message, type, read, link, created_at, updated_at)
select $1, $1, u.id, t.title, replace(t.message, '{name}', u.first_name), t.type, t.read, t.link, now() - t.age, now() - t.age
from users u
cross join (values
  ('Welcome', 'Welcome to Ringfence, {name}. Your contacts are a good place to start.', 'info', true, '/contacts', interval '20 days'),
  ('Import finished', 'All rows of your file are contacts now.', 'success', true, '/contacts', interval '6 days'),
  ('Missed call', '{name}, somebody tried to reach you.', 'warning', false, '/calls', interval '3 hours')
) as t (title, message, type, read, link, age)
where u.company_id = $1
