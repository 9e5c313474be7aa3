-- The calls, e-mails, meetings and tasks of a period. Rows are counted one day at a time, so that time zone conversion
-- happens once per day and not per activity. An activity is overdue as in the list (sql/activities/filter.sql): neither
-- completed nor cancelled, and due before now (contract: analytics) or marked overdue. The other pending ones
-- count as pending, so that each activity counts once.
-- $1 first day   $2 last day   $3 owner   $4 type: each null for all
with recursive p as materialized (
  -- An operator or an import may have written a time outside the range of dates.
  select q.zone, greatest(q.starts, '0001-01-02Z') as starts, least(q.ends, '9999-12-30Z') as ends from app.period($1, $2) q
), day (day) as (
  select (select (a.created_at at time zone p.zone)::date from activities a
    where a.type in ('call', 'email', 'meeting', 'task') and a.created_at >= p.starts and a.created_at < p.ends order by a.created_at limit 1) from p
  union all
  select (select (a.created_at at time zone p.zone)::date from activities a
    where a.type in ('call', 'email', 'meeting', 'task') and a.created_at >= app.midnight(d.day + 1, p.zone) and a.created_at < p.ends order by a.created_at limit 1)
  from day d, p where d.day is not null
), daily as materialized (
  select extract(dow from d.day) as dow, sum(a.total) as total
  from (select d.day, app.midnight(d.day, p.zone) as starts, app.midnight(d.day + 1, p.zone) as ends from day d, p) d
  cross join lateral (
    select count(*) as total from activities a where a.created_at >= d.starts and a.created_at < d.ends
      and ($3::uuid is null or a.owner_id = $3) and ($4::text is null or a.type = $4) and a.type in ('call', 'email', 'meeting', 'task')) a
  group by 1
), made as materialized (
  select a.owner_id, a.type, count(*) as total, count(*) filter (where a.status = 'completed') as completed,
    count(*) filter (where a.status = 'overdue' or a.status = 'pending' and a.due_date < now()) as overdue,
    count(*) filter (where a.status = 'pending' and (a.due_date < now()) is not true) as pending
  from activities a
  where a.created_at >= (select p.starts from p) and a.created_at < (select p.ends from p)
    and ($3::uuid is null or a.owner_id = $3) and ($4::text is null or a.type = $4) and a.type in ('call', 'email', 'meeting', 'task')
  group by 1, 2
), type as (
  select t.type, t.place, coalesce(sum(m.total), 0) as total, coalesce(sum(m.completed), 0) as completed, coalesce(sum(m.overdue), 0) as overdue,
    coalesce(sum(m.pending), 0) as pending
  from unnest(array['call', 'email', 'meeting', 'task']) with ordinality t (type, place) left join made m on m.type = t.type group by 1, 2
), person as (
  select m.owner_id, coalesce(nullif(min(concat_ws(' ', u.first_name, u.last_name)), ''), 'Former member') as name,
    coalesce(sum(m.total) filter (where m.type = 'call'), 0) as calls, coalesce(sum(m.total) filter (where m.type = 'email'), 0) as emails,
    coalesce(sum(m.total) filter (where m.type = 'meeting'), 0) as meetings, coalesce(sum(m.total) filter (where m.type = 'task'), 0) as tasks,
    sum(m.total) as total, sum(m.completed) as completed
  from made m left join users u on u.id = m.owner_id group by 1
)
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'user_id', $3::uuid, 'team_id', null, 'activity_type', $4::text),
  'activity_analytics', (select jsonb_agg(jsonb_build_object('activity_type', t.type, 'total_count', t.total, 'completed_count', t.completed,
      'overdue_count', t.overdue, 'pending_count', t.pending, 'completion_rate', app.percent(t.completed, t.total))
    order by t.place) from type t),
  'activities_by_user', coalesce((select jsonb_agg(jsonb_build_object('user_id', x.owner_id, 'user_name', x.name, 'calls', x.calls, 'emails', x.emails,
      'meetings', x.meetings, 'tasks', x.tasks, 'total', x.total, 'completion_rate', app.percent(x.completed, x.total))
    order by x.total desc, x.owner_id) from person x), '[]'),
  'activity_distribution', jsonb_build_object('by_day', (select jsonb_agg(jsonb_build_object('day', w.day,
      'count', coalesce((select d.total from daily d where d.dow = w.place - 1), 0)) order by w.place)
    from unnest(array['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']) with ordinality w (day, place))),
  'summary', jsonb_build_object('total_activities', sum(t.total), 'total_completed', sum(t.completed), 'total_overdue', sum(t.overdue),
    'total_pending', sum(t.pending), 'overall_completion_rate', app.percent(sum(t.completed), sum(t.total), 2)))
from type t
