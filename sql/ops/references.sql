-- Which tables of companies refer to which, themselves included.
select distinct k.conrelid::regclass::text, k.confrelid::regclass::text
from pg_constraint k
where k.contype = 'f' and k.connamespace = 'public'::regnamespace
