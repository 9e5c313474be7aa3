-- The triggers that keep app.caller and the rules of a users row: without them nobody is removed or suspended.
select format('trigger %s of %s is missing or switched off', t.name, t.target) as finding,
  format('alter table %s enable trigger %s, or restore it from migrations/V0002__identity.sql', t.target, t.name) as remedy
from (values ('users', 'a_members', 'app.keep_members()'), ('users', 'b_caller', 'app.keep_caller()'),
  ('users', 'guard', 'app.guard_user()'), ('companies', 'b_caller', 'app.keep_caller()')) as t (target, name, does)
where not exists (
  select from pg_trigger g
  where g.tgrelid = to_regclass('public.' || t.target) and g.tgname = t.name and g.tgenabled in ('O', 'A')
    and g.tgfoid::regprocedure::text = t.does)
order by 1
