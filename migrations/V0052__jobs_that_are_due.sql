-- A job is due at some time: one that never was would make everybody's figures of the queue fail.
set role ringfence_owner;

alter table jobs add constraint jobs_run_at_is_finite check (isfinite(run_at)) not valid;

reset role;
