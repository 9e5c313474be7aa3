-- The contacts of a period and what became of them: a contact is converted when it has a deal. A contact's source and
-- score are not recorded.
-- $1 first day   $2 last day   $3 source: each null for all
with made as materialized (
  select c.status, count(*) as contacts, count(d.contact_id) as converted, count(*) filter (where d.won) as won,
    coalesce(sum(d.deals), 0) as deals, sum(extract(epoch from greatest(d.first_at - c.created_at, interval '0'))) as seconds
  from app.period($1, $2) p, contacts c
  left join (
    select d.contact_id, count(*) as deals, min(d.created_at) as first_at, bool_or(d.status = 'won') as won
    from deals d where not d.is_deleted and d.contact_id is not null group by 1) d on d.contact_id = c.id
  where not c.is_deleted and c.created_at >= p.starts and c.created_at < p.ends and $3::text is null
  group by 1
), total as (
  select coalesce(sum(contacts), 0) as contacts, coalesce(sum(converted), 0) as converted, coalesce(sum(won), 0) as won,
    coalesce(sum(deals), 0) as deals, sum(seconds) as seconds from made
)
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'source', $3::text),
  'source_analytics', jsonb_build_array(), 'contacts_by_source', jsonb_build_array(), 'conversion_by_source', jsonb_build_array(),
  'lead_scoring', jsonb_build_array(),
  'lead_status_breakdown', coalesce((select jsonb_agg(jsonb_build_object('status', m.status, 'count', m.contacts,
    'percentage', app.percent(m.contacts, t.contacts)) order by m.contacts desc, m.status) from made m), '[]'),
  'contacts_by_status', coalesce((select jsonb_agg(jsonb_build_object('status', m.status, 'count', m.contacts) order by m.contacts desc, m.status)
    from made m), '[]'),
  'lead_scoring_distribution', jsonb_build_object('avg_score', 0, 'median_score', 0, 'score_ranges', (
    select jsonb_agg(jsonb_build_object('range', r.range, 'count', 0, 'label', r.label) order by r.place)
    from unnest(array['0-20', '21-40', '41-60', '61-80', '81-100'], array['Cold', 'Warm', 'Hot', 'Very Hot', 'Extremely Hot'])
      with ordinality r (range, label, place))),
  'ai_insights', jsonb_build_object('high_value_leads', 0, 'ready_to_convert', 0, 'needs_nurturing', 0, 'likely_to_churn', 0),
  'conversion_funnel', (select jsonb_agg(jsonb_build_object('stage', f.stage, 'count', f.count, 'conversion_rate', app.percent(f.count, t.contacts)) order by f.place)
    from (values (1, 'Contacts', t.contacts), (2, 'With a deal', t.converted), (3, 'Won', t.won)) f (place, stage, count)),
  'summary', jsonb_build_object('total_contacts', t.contacts, 'total_deals_created', t.deals,
    'overall_conversion_rate', app.percent(t.converted, t.contacts), 'avg_time_to_convert_days', app.ratio(t.seconds, t.converted * 86400, 1)))
from total t
