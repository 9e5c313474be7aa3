-- Generates contacts, in the order of their numbers and spread over two years.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids from users where company_id = any($1) group by company_id
), words as materialized (
  select
    array['Ada', 'Ahmed', 'Aisha', 'Amelia', 'Anna', 'Arjun', 'Ben', 'Camila', 'Carlos', 'Charlotte', 'Chen', 'Chloé', 'Daniel', 'David',
      'Diego', 'Elena', 'Emma', 'Ethan', 'Fatima', 'Finn', 'Grace', 'Hannah', 'Hiroshi', 'Ibrahim', 'Ingrid', 'Isabella', 'Jack', 'James',
      'Jin', 'José', 'Julia', 'Kofi', 'Lars', 'Leila', 'Liam', 'Lucía', 'Łukasz', 'Maria', 'Mateo', 'Maya', 'Mei', 'Michael', 'Nadia',
      'Noah', 'Nora', 'Olivia', 'Omar', 'Oscar', 'Paula', 'Priya', 'Rachel', 'Ravi', 'Rosa', 'Samuel', 'Sofia', 'Søren', 'Thomas', 'Wei',
      'Yusuf', 'Zoë'] as first_names,
    array['Adams', 'Alvarez', 'Andersson', 'Baker', 'Becker', 'Bell', 'Bianchi', 'Brown', 'Carter', 'Chen', 'Clark', 'Cohen', 'Costa',
      'Davies', 'Diaz', 'Dubois', 'Evans', 'Fischer', 'García', 'Gray', 'Green', 'Haddad', 'Hall', 'Hansen', 'Hughes', 'Ivanova', 'Jackson',
      'Johnson', 'Jones', 'Kapoor', 'Khan', 'Kim', 'King', 'Kowalski', 'Lee', 'Lewis', 'Li', 'López', 'Martin', 'Mensah', 'Meyer', 'Miller',
      'Moore', 'Müller', 'Murphy', 'Nakamura', 'Nguyen', 'Novak', 'O''Brien', 'Okafor', 'Patel', 'Pérez', 'Petrov', 'Quinn', 'Reyes',
      'Roberts', 'Rossi', 'Sato', 'Schmidt', 'Scott', 'Silva', 'Singh', 'Smith', 'Suzuki', 'Tanaka', 'Taylor', 'Thompson', 'Turner', 'Walker',
      'Wang', 'White', 'Williams', 'Wilson', 'Wright', 'Yilmaz', 'Young', 'Zhang', 'van Dijk', 'da Cruz', 'de Vries'] as last_names,
    array['Alder', 'Amber', 'Arbor', 'Beacon', 'Birch', 'Blue Lake', 'Brook', 'Canyon', 'Cedar', 'Clover', 'Coral', 'Crescent', 'Delta', 'Eastgate',
      'Falcon', 'Fern', 'Granite', 'Harbor', 'Hawthorn', 'Highland', 'Juniper', 'Keystone', 'Lantern', 'Maple', 'Meridian', 'Northside', 'Oak',
      'Orchard', 'Pioneer', 'Quarry', 'Redwood', 'Riverbend', 'Sierra', 'Silver', 'Summit', 'Tidewater', 'Union', 'Vista', 'Westfield', 'Willow'] as places,
    array['Accounting', 'Architects', 'Bakery', 'Brewing', 'Builders', 'Catering', 'Clinic', 'Consulting', 'Dental', 'Electric', 'Engineering',
      'Farms', 'Fitness', 'Foods', 'Freight', 'Gardens', 'Hotels', 'Insurance', 'Interiors', 'Labs', 'Legal', 'Logistics', 'Media', 'Motors',
      'Optics', 'Pharmacy', 'Plumbing', 'Properties', 'Roofing', 'Software', 'Solar', 'Studios', 'Textiles', 'Tools', 'Travel'] as trades,
    array['Owner', 'Director', 'Office Manager', 'Buyer', 'Head of Sales', 'Operations Manager', 'Engineer', 'Accountant', 'Project Manager',
      'Founder', 'Assistant', 'Marketing Lead', null] as titles,
    array['201', '206', '212', '213', '303', '305', '312', '404', '415', '503', '512', '602', '617', '702', '713', '808', '917'] as areas,
    array['Lead', 'Lead', 'Lead', 'Lead', 'Lead', 'Customer', 'Customer', 'Partner', 'Vendor'] as types,
    array['NEW', 'NEW', 'NEW', 'LEAD', 'LEAD', 'PROSPECT', 'CONTACTED', 'CONTACTED', 'QUALIFIED', 'UNQUALIFIED', 'CUSTOMER', 'CUSTOMER',
      'INACTIVE'] as statuses
), made as (
  -- random() keeps this from being inlined into the insert, so that all columns with a name get the same one.
  select g.company, n, g.total,
    p.ids[1 + floor(random() * cardinality(p.ids))::int] as owner_id,
    w.first_names[1 + floor(random() * cardinality(w.first_names))::int] as first_name,
    w.last_names[1 + floor(random() * cardinality(w.last_names))::int] as last_name,
    w.places[1 + floor(random() * cardinality(w.places))::int] as place,
    w.trades[1 + floor(random() * cardinality(w.trades))::int] as trade,
    w.titles[1 + floor(random() * cardinality(w.titles))::int] as title,
    w.areas[1 + floor(random() * cardinality(w.areas))::int] as area,
    w.types[1 + floor(random() * cardinality(w.types))::int] as type,
    w.statuses[1 + floor(random() * cardinality(w.statuses))::int] as status,
    now() - interval '2 years' * (1 - (n - random()) / g.total) as moment
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  cross join words w
  cross join lateral generate_series(g.first, g.last) as n
)
insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone, company, title, type, status, created_at, updated_at)
select company, company, owner_id, first_name, last_name,
  translate(lower(first_name || '.' || last_name), 'áéíóúñëüøł ''', 'aeiouneuol') || n || '@' || replace(lower(place || trade), ' ', '') || '.example',
  '+1' || area || '555' || lpad((n % 10000)::text, 4, '0'), place || ' ' || trade, title, type, status, moment, moment
from made
