-- A title or subject is used once by who enters it (contract: deals, activities), who may have sent it twice. A run makes one for
-- each of its events, and each once by its step.
set role ringfence_owner;

create or replace function app.new_deal_title(title text) returns text language plpgsql as $$
begin
  if app.is_job() then
    return title;
  end if;
  perform app.lock_name('deal', concat_ws(' ', app.user_id(), title));
  if exists (select from public.deals d where d.owner_id = app.user_id() and d.title = $1 and not d.is_deleted) then
    raise sqlstate 'RF400' using message = 'A deal with this title already exists';
  end if;
  return title;
end $$;

create or replace function app.new_activity_subject(subject text, due_date timestamptz) returns text language plpgsql as $$
begin
  if app.is_job() then
    return subject;
  end if;
  perform app.lock_name('activity', concat_ws(' ', app.user_id(), subject));
  if exists (select from public.activities a where a.owner_id = app.user_id() and a.subject = $1 and a.due_date is not distinct from $2) then
    raise sqlstate 'RF400' using message = 'An activity with this subject and due date already exists';
  end if;
  return subject;
end $$;

reset role;
