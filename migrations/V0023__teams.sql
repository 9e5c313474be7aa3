-- Teams of a company, which its users can be in.
set role ringfence_owner;

create table teams (
  id           uuid primary key default app.uuid_v7(),
  tenant_id    uuid not null,
  company_id   uuid,
  user_id      uuid not null,
  team_lead_id uuid,
  name         text not null check (length(name) <= 100),
  description  text check (length(description) <= 500),
  is_deleted   boolean not null default false,
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now(),
  constraint teams_lead_fkey foreign key (tenant_id, team_lead_id) references members (tenant_id, user_id) deferrable initially immediate
);
create index teams_by_name on teams (tenant_id, name, id) include (company_id, user_id) where not is_deleted;
select app.protect('teams', 'user_id');

-- A user's tenant is their company: nobody is in a team of another one.
alter table users
  add constraint users_team_needs_company check (team_id is null or company_id is not null),
  add constraint users_team_fkey foreign key (company_id, team_id) references teams (tenant_id, id)
    on delete set null (team_id) deferrable initially immediate;
create index users_team on users (company_id, team_id) where team_id is not null;

-- Who moves to another company leaves the team.
create function app.leave_team() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.company_id is distinct from old.company_id then
    new.team_id := null;
  end if;
  return new;
end $$;
create trigger leave_team before update of company_id on users for each row execute function app.leave_team();

reset role;
