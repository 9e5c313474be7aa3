-- What an import reports as changed in the old database has changed there since it came, whatever became of the row here.
set role ringfence_owner;

-- When the old row was changed last, as it came; none where it does not say, and of rows that came before this was kept.
alter table ops.imported add column updated_at timestamptz;

reset role;
