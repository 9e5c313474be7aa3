-- Documents sent for signature: nothing creates or stores them yet, so there are none.
-- $1 first day   $2 last day   $3 type
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'document_type', $3::text),
  'document_summary', jsonb_build_object('signed', 0, 'pending', 0, 'viewed', 0, 'expired', 0),
  'document_metrics', jsonb_build_object('total_documents', 0, 'signed_documents', 0, 'pending_documents', 0, 'viewed_documents', 0,
    'expired_documents', 0, 'completion_rate', 0, 'avg_time_to_sign_hours', 0),
  'document_status', jsonb_build_array(),
  'time_to_signature', jsonb_build_object('avg_hours', 0, 'median_hours', 0, 'min_hours', 0, 'max_hours', 0, 'distribution', jsonb_build_array()),
  'document_by_type', jsonb_build_array(), 'document_by_deal_stage', jsonb_build_array(),
  'reminders_sent', jsonb_build_object('total_reminders', 0, 'avg_reminders_per_doc', 0, 'effectiveness_rate', 0))
