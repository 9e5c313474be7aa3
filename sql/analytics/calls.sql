-- The calls of a period: completed calls count as answered; voicemail is not recorded. Rows are counted one day at a
-- time, so that time zone conversion happens once per day and not per call. Durations in seconds.
-- $1 first day   $2 last day   $3 member: each null for all
with recursive p as materialized (
  select q.zone, greatest(q.starts, '0001-01-02Z') as starts, least(q.ends, '9999-12-30Z') as ends from app.period($1, $2) q
), day (day) as (
  select (select (c.created_at at time zone p.zone)::date from calls c where c.created_at >= p.starts and c.created_at < p.ends order by c.created_at limit 1) from p
  union all select (select (c.created_at at time zone p.zone)::date from calls c
    where c.created_at >= app.midnight(d.day + 1, p.zone) and c.created_at < p.ends order by c.created_at limit 1)
  from day d, p where d.day is not null
), daily as materialized (
  select d.day, c.answered, c.missed, c.seconds
  from (select d.day, app.midnight(d.day, p.zone) as starts, app.midnight(d.day + 1, p.zone) as ends from day d, p where d.day is not null) d
  cross join lateral (
    select count(*) as calls, count(*) filter (where c.status = 'completed') as answered, count(*) filter (where app.call_is_missed(c.status)) as missed,
      sum(c.duration) filter (where c.status = 'completed') as seconds
    from calls c where c.created_at >= d.starts and c.created_at < d.ends and ($3::uuid is null or c.user_id = $3)) c where c.calls > 0
), made as materialized (
  select c.user_id, c.status, count(*) as calls, sum(c.duration) as seconds from calls c where c.created_at >= (select p.starts from p) and c.created_at < (select p.ends from p) and ($3::uuid is null or c.user_id = $3) group by 1, 2
), duration as materialized (
  select c.duration, count(*) as calls, sum(count(*)) over (order by c.duration) as up_to from calls c where c.status = 'completed'
    and c.created_at >= (select p.starts from p) and c.created_at < (select p.ends from p) and ($3::uuid is null or c.user_id = $3) group by 1
), total as materialized (
  select coalesce(sum(m.calls), 0) as calls, coalesce(sum(m.calls) filter (where m.status = 'completed'), 0) as answered,
    coalesce(sum(m.calls) filter (where app.call_is_missed(m.status)), 0) as missed,
    coalesce(sum(m.seconds) filter (where m.status = 'completed'), 0) as seconds,
    (select count(*) from p, calls c where c.recording_url is not null and c.created_at >= p.starts and c.created_at < p.ends
      and ($3::uuid is null or c.user_id = $3)) as recorded from made m
), person as (
  select m.user_id, sum(m.calls) as calls, coalesce(sum(m.calls) filter (where m.status = 'completed'), 0) as answered,
    coalesce(sum(m.calls) filter (where app.call_is_missed(m.status)), 0) as missed,
    sum(m.seconds) filter (where m.status = 'completed') as seconds from made m group by 1
)
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'user_id', $3::uuid),
  'call_metrics', jsonb_build_object('total_calls', t.calls, 'answered_calls', t.answered, 'missed_calls', t.missed, 'voicemail_calls', 0,
    'answer_rate', app.percent(t.answered, t.calls), 'avg_duration_seconds', app.ratio(t.seconds, t.answered, 1),
    'total_duration_hours', round(t.seconds / 3600, 1), 'recorded_calls', t.recorded, 'recording_rate', app.percent(t.recorded, t.calls)),
  'call_durations', jsonb_build_object('avg_duration', app.ratio(t.seconds, t.answered, 1), 'min_duration', coalesce((select min(duration) from duration), 0),
    'max_duration', coalesce((select max(duration) from duration), 0), 'median_duration', coalesce((
      select round((min(d.duration) filter (where d.up_to >= t.answered / 2)::bigint + min(d.duration) filter (where d.up_to > div(t.answered, 2))) / 2.0, 1)
      from duration d), 0),
    'duration_distribution', (select jsonb_agg(jsonb_build_object('range', r.range,
        'count', (select coalesce(sum(d.calls), 0) from duration d where d.duration >= r.first and d.duration < r.until)) order by r.first)
      from (values ('0-2 min', 0, 120), ('2-5 min', 120, 300), ('5-10 min', 300, 600), ('10-20 min', 600, 1200),
        ('20+ min', 1200, 1099511627776)) r (range, first, until))),
  'call_by_day', (select jsonb_agg(jsonb_build_object('day', w.day, 'answered', w.answered, 'missed', w.missed,
      'avg_duration', app.ratio(w.seconds, w.answered, 1)) order by w.place)
    from (select n.day, n.place, coalesce(sum(d.answered), 0) as answered, coalesce(sum(d.missed), 0) as missed, sum(d.seconds) as seconds
      from unnest(array['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']) with ordinality n (day, place)
      left join daily d on extract(dow from d.day) = n.place - 1 group by 1, 2) w),
  'daily_calls', coalesce((select jsonb_agg(jsonb_build_object('date', d.day, 'answered', d.answered, 'missed', d.missed,
    'avg_duration', app.ratio(d.seconds, d.answered, 1)) order by d.day) from daily d), '[]'),
  'call_by_user', coalesce((select jsonb_agg(jsonb_build_object('user_id', x.user_id, 'user_name',
     coalesce((select concat_ws(' ', u.first_name, u.last_name) from users u where u.id = x.user_id), 'Former member'),
    'total_calls', x.calls, 'answered', x.answered, 'missed', x.missed, 'avg_duration', app.ratio(x.seconds, x.answered, 1),
    'answer_rate', app.percent(x.answered, x.calls)) order by x.calls desc, x.user_id) from person x), '[]'),
  'call_outcomes', coalesce((select jsonb_agg(jsonb_build_object('outcome', o.status, 'count', o.calls, 'percentage', app.percent(o.calls, t.calls))
    order by o.calls desc, o.status) from (select m.status, sum(m.calls) as calls from made m group by 1) o), '[]'))
from total t
