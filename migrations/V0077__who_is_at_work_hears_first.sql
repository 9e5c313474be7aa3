-- As in V0074, but whose settings are switched off is asked last of all who have the account, also behind those who are not verified.
create or replace function app.companies_of_number(number text, account text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select said.company_id, said.user_id from (
      select distinct on (o.company_id) o.company_id, o.user_id, o.is_number, coalesce(s.account_sid = $2, false) as is_account,
        coalesce(s.is_verified, false) as is_verified, coalesce(s.is_active, false) as is_on, s.created_at
      from (
        select n.company_id, n.user_id, true as is_active, true as is_number from public.phone_numbers n
          where app.global_key(n.phone_number) = app.global_key($1) and n.is_active and not n.is_deleted and n.company_id is not null
        union all
        select n.company_id, n.user_id, false, true from public.phone_numbers n
          where app.global_key(n.phone_number) = app.global_key($1) and not n.is_active and not n.is_deleted and n.company_id is not null
        union all
        select t.company_id, t.user_id, true, false from public.twilio_settings t
          where app.global_key(t.phone_number) = app.global_key($1) and t.company_id is not null
      ) o
      left join public.twilio_settings s on s.tenant_id = o.company_id and s.company_id is not null
      where o.is_active or s.account_sid = $2 and s.is_verified
      order by o.company_id, o.is_active desc, o.is_number desc
    ) said
    order by said.is_account desc, said.is_on desc, said.is_verified desc, said.is_number desc, said.created_at
    limit 20;
  end;
