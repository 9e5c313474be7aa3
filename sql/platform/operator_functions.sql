-- The functions that triggers and defaults call as the operators who write. Run by `ringfence migrate` after the
-- migrations; safe to repeat. Search is not among them, because it would let them see another company's rows before the
-- policy.
do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid from pg_proc p
    where p.pronamespace = 'app'::regnamespace and not p.prosecdef and p.proname not like '%\_containing'
      and has_function_privilege('ringfence_api', p.oid, 'execute') and not has_function_privilege('ringfence_operator_write', p.oid, 'execute')
  loop
    execute format('grant execute on function %s to ringfence_operator_write', f);
  end loop;
end $$
