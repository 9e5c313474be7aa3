//! Checks plans, not times: lists walk an index in their order and stop, searches read an index, policies are evaluated
//! once per statement; for the largest company and a small one alike.

use crate::support::{
    database::{OwnDatabase, enter},
    plans::{fill, nodes, plan},
    repository::{files, name},
    server::admin_url,
};
use ringfence::{
    db::{self, List},
    list, sql,
};
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

#[track_caller]
fn reads(plan: &Value, what: &str, indexes: &[&str], ordered: bool) {
    let all = nodes(plan);
    let kinds: Vec<&str> = all.iter().map(|n| n["Node Type"].as_str().unwrap()).collect();
    assert!(!kinds.contains(&"Seq Scan"), "{what} walks over a whole table: {plan:#}");
    for index in indexes {
        let read = all.iter().find(|n| n["Index Name"] == *index);
        let node = read.unwrap_or_else(|| panic!("{what} does not read {index}: {plan:#}"));
        let condition = node["Index Cond"].as_str().unwrap_or_default();
        assert!(!condition.is_empty(), "{what} reads all of {index}: {plan:#}");
    }
    if ordered {
        assert!(!kinds.iter().any(|k| k.contains("Sort") || k.contains("Bitmap")), "{what} sorts: {plan:#}");
    }
    for node in &all {
        let filter = format!("{} {}", node["Filter"], node["Index Cond"]);
        assert!(!filter.contains("current_setting"), "{what} evaluates the policy for each row: {plan:#}");
    }
}

/// Look-ups across companies read the indexes on app.global_key.
#[tokio::test]
async fn look_ups_across_companies_read_their_indexes() {
    let mut admin = db::connect(&admin_url()).await.unwrap();
    for (call, index) in [
        ("app.login('nobody@x.example')", "users_email_key"),
        ("app.email_taken('nobody@x.example')", "users_email_key"),
        ("app.start_password_reset('nobody@x.example', '')", "users_email_key"),
        ("app.finish_password_reset('nobody@x.example', '', '')", "users_email_key"),
        ("app.company_name_taken('Nobody')", "companies_name_key"),
        ("app.companies_of_number('+15550199')", "phone_numbers_in_use_key"),
        ("app.companies_of_number('+15550199')", "twilio_settings_number"),
        ("app.companies_of_call('AC', 'CA')", "twilio_settings_account"),
    ] {
        let tx = admin.transaction().await.unwrap();
        let scans = "select pg_stat_get_xact_numscans($1::text::regclass)";
        let before: i64 = tx.query_one(scans, &[&index]).await.unwrap().get(0);
        tx.batch_execute(&format!("set local enable_seqscan = off; select * from {call}")).await.unwrap();
        let after: i64 = tx.query_one(scans, &[&index]).await.unwrap().get(0);
        assert!(after > before, "{call} does not read {index}");
        tx.rollback().await.unwrap();
    }
}

/// The page after a row far down in a list starts in the index and reads no row before it.
async fn walks(api: &Client, list: List, filters: &[&str], indexes: &[&str]) {
    let name = list.first.name;
    let all = plan(api, list.count, &[filters, &["9223372036854775807", "0"]].concat()).await;
    reads(&all, &format!("the count of {name}"), &[], false);
    let key = list.key.join(", ");
    let inner = list.first.text;
    let skip = "(select count(*) * 9 / 10 from c)";
    let texts: Vec<String> = list.key.iter().map(|column| format!("quote_nullable({column}::text)")).collect();
    let deep = format!(
        "prepare d as with c as materialized ({inner}) select {} from c offset {skip} limit 1",
        texts.join(", ")
    );
    api.batch_execute(&deep).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let call = format!("execute d ({})", [filters, &["100000", "0"]].concat().join(", "));
    let found = api.simple_query(&call).await.unwrap();
    api.batch_execute("deallocate d").await.unwrap();
    let row = found.iter().find_map(|m| match m {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    // A small company may have none.
    let Some(row) = row else { return };
    let values: Vec<&str> = (0..list.key.len()).map(|at| row.get(at).unwrap()).collect();
    let parameters = [filters, &["20", "0"], &values].concat();
    // Where fewer rows are left than a page has, a bitmap scan and a sort are as good.
    api.batch_execute("set local enable_bitmapscan = off").await.unwrap();
    let plan = plan(api, list.behind, &parameters).await;
    api.batch_execute("set local enable_bitmapscan = on").await.unwrap();
    reads(&plan, &format!("{name} behind {key}"), indexes, true);
    for node in nodes(&plan) {
        assert!(!node["Filter"].to_string().contains("ROW("), "{name} reads what is before its cursor: {plan:#}");
        if indexes.iter().any(|index| node["Index Name"] == *index) {
            assert!(node["Index Cond"].to_string().contains("ROW("), "{name} does not start at its cursor: {plan:#}");
        }
    }
}

/// A statement that reads many rows and has no plan here could become slow unnoticed.
#[test]
fn every_list_search_and_report_has_a_plan() {
    let (plans, scale) = (include_str!("plans.rs"), include_str!("scale.rs"));
    for path in files("sql", "sql") {
        let name = name(&path);
        let elsewhere = ["platform/", "lint/", "ops/", "import/", "demo/", "jobs/"];
        if elsewhere.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String = text.lines().filter(|l| !l.trim_start().starts_with("--")).flat_map(|l| [l, "\n"]).collect();
        let writes = ["insert into", "update ", "delete from"].iter().any(|word| code.contains(word));
        let reads_many =
            ["order by", "limit $", "count(", "sum(", "_containing("].iter().any(|word| code.contains(word));
        let asked = [format!("sql!(\"{name}\")"), format!("list!(\"{name}\"")];
        let is_asked = |source: &str| asked.iter().any(|call| source.contains(call));
        assert!(
            writes || !reads_many || is_asked(plans),
            "sql/{name}.sql reads many rows: add it to a test of its plan in tests/it/plans.rs"
        );
        assert!(
            writes || !code.contains("limit $") || is_asked(scale),
            "sql/{name}.sql is a page: add it to tests/it/scale.rs, which sees what a page costs when the company grows"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_searches_read_their_indexes() {
    let own = OwnDatabase::new().await;
    let admin = fill(&own, 40, 40_000).await;
    let by_size = "select k.company_id, min(u.id::text)::uuid, count(*), min(k.id::text)::uuid from contacts k
        join users u on u.company_id = k.company_id where k.company_id is not null group by 1 order by 3 desc";
    let companies = admin.query(by_size, &[]).await.unwrap();
    assert!(companies[0].get::<_, i64>(2) > 1_000);

    let api = db::connect(&own.api).await.unwrap();
    for company in [&companies[0], companies.last().unwrap()] {
        let (id, user, contact): (Uuid, Uuid, Uuid) = (company.get(0), company.get(1), company.get(3));
        api.batch_execute("begin").await.unwrap();
        api.batch_execute(&enter(id, user)).await.unwrap();
        let contact = format!("'{contact}'");
        let list = sql!("contacts/list").planned_once();
        for skip in ["0", "1000"] {
            reads(&plan(&api, list, &["50", skip]).await, "contacts/list", &["contacts_feed"], true);
        }
        let stage = "select min(id::text) from pipeline_stages where tenant_id = $1";
        let stage: String = admin.query_one(stage, &[&id]).await.unwrap().get(0);
        let deal = "select min(id::text) from deals where tenant_id = $1";
        let deal: String = admin.query_one(deal, &[&id]).await.unwrap().get(0);
        let workflow = "select min(id::text) from workflows where tenant_id = $1";
        let workflow: String = admin.query_one(workflow, &[&id]).await.unwrap().get(0);
        let folder = "select min(id::text) from folders where tenant_id = $1 and parent_id is null";
        let folder: String = admin.query_one(folder, &[&id]).await.unwrap().get(0);
        let [stage, deal, workflow, folder] = [stage, deal, workflow, folder].map(|id| format!("'{id}'"));
        // Once for a page, and once for all rows, which the frontend requests.
        for limit in ["50", "9223372036854775807"] {
            for (list, parameters, index) in [
                (sql!("sms/list"), vec![limit, "0"], "sms_messages_feed"),
                (sql!("sms/of_direction"), vec!["'inbound'", limit, "0"], "sms_messages_of_direction"),
                (sql!("calls/list"), vec![limit, "0"], "calls_feed"),
                (sql!("calls/of_direction"), vec!["'inbound'", limit, "0"], "calls_of_direction"),
                (sql!("deals/list"), vec![limit, "0"], "deals_feed"),
                (sql!("deals/of_stage"), vec![&stage, limit, "0"], "deals_stage"),
                (sql!("emails/received"), vec![limit, "0"], "emails_received"),
                (sql!("suppressions/list"), vec![limit, "0"], "suppressions_feed"),
                (sql!("conversations/list"), vec![limit, "0"], "conversations_feed"),
                (sql!("activities/list"), vec![limit, "0"], "activities_feed"),
                (sql!("campaigns/list"), vec![limit, "0"], "campaigns_feed"),
                (sql!("workflows/list"), vec![limit, "0"], "workflows_feed"),
                (sql!("workflows/of_status"), vec!["'paused'", limit, "0"], "workflows_of_status"),
                (sql!("notifications/list"), vec![limit, "0"], "notifications_feed"),
                (sql!("notifications/unread"), vec![limit, "0"], "notifications_unread"),
                (sql!("sms/scheduled"), vec![limit, "0"], "scheduled_sms_feed"),
                (sql!("quotes/list"), vec![limit, "0"], "quotes_feed"),
                (sql!("quotes/of_status"), vec!["'sent'", limit, "0"], "quotes_status"),
                (sql!("workflows/executions"), vec![&workflow, limit, "0"], "workflow_executions_feed"),
                (sql!("files/list"), vec![limit, "0"], "files_feed"),
                (sql!("files/of_category"), vec!["'c'", limit, "0"], "files_category"),
            ] {
                reads(&plan(&api, list.planned_once(), &parameters).await, list.name, &[index], true);
            }
        }
        for (list, parameters, index) in [
            (sql!("contacts/filter"), &["null", "'inactive'", "null"][..], "contacts_of_status"),
            (sql!("activities/filter"), &["null", "null", "null", &contact, "null"], "activities_of_contact"),
            (sql!("activities/filter"), &["null", "null", "null", "null", &deal], "activities_of_deal"),
            (sql!("activities/filter"), &["null", "null", "false", "null", "null"], "activities_open"),
            (sql!("files/of_folder"), &[&folder, "null"], "files_folder"),
            (sql!("emails/list"), &["'all'"], "emails_feed"),
            (sql!("emails/list"), &["'sent'"], "emails_of_sender"),
            (sql!("emails/list"), &["'draft'"], "emails_drafts"),
            (sql!("emails/list"), &["'trash'"], "emails_trash"),
        ] {
            let parameters = [parameters, &["50", "0"]].concat();
            reads(&plan(&api, list.planned_anew(), &parameters).await, list.name, &[index], true);
        }
        // A handful of rows may be sorted.
        for (list, filters, index) in [
            (sql!("contacts/filter"), &["'Rare'", "null", "null"][..], "contacts_of_type"),
            (sql!("activities/filter"), &["'deadline'", "null", "null", "null", "null"], "activities_of_type"),
            (sql!("activities/filter"), &["null", "'cancelled'", "null", "null", "null"], "activities_of_status"),
            (sql!("conversations/of_status"), &["'blocked'"], "conversations_not_active"),
            (sql!("campaigns/of_status"), &["'draft'"], "campaigns_not_sent"),
        ] {
            let parameters = [filters, &["50", "0"]].concat();
            reads(&plan(&api, list.planned_anew(), &parameters).await, list.name, &[index], false);
        }
        for (list, filters, index) in [
            (list!("contacts/list"), &[][..], "contacts_feed"),
            (list!("sms/list"), &[], "sms_messages_feed"),
            (list!("sms/of_direction"), &["'inbound'"], "sms_messages_of_direction"),
            (list!("calls/list"), &[], "calls_feed"),
            (list!("calls/of_direction"), &["'inbound'"], "calls_of_direction"),
            (list!("deals/list"), &[], "deals_feed"),
            (list!("deals/of_stage"), &[&stage], "deals_stage"),
            (list!("activities/list", "due_order", "created_at", "id"), &[], "activities_feed"),
            (list!("campaigns/list"), &[], "campaigns_feed"),
            (list!("workflows/list"), &[], "workflows_feed"),
            (list!("workflows/of_status"), &["'paused'"], "workflows_of_status"),
            (list!("quotes/list"), &[], "quotes_feed"),
            (list!("quotes/of_status"), &["'sent'"], "quotes_status"),
            (list!("files/list"), &[], "files_feed"),
            (list!("files/of_category"), &["'c'"], "files_category"),
            (list!("emails/received"), &[], "emails_received"),
            (list!("suppressions/list"), &[], "suppressions_feed"),
            (list!("conversations/list", "last_message_at", "id"), &[], "conversations_feed"),
            (list!("workflows/executions"), &[&workflow], "workflow_executions_feed"),
            (list!("notifications/list"), &[], "notifications_feed"),
            (list!("notifications/unread"), &[], "notifications_unread"),
            (list!("sms/scheduled", "scheduled_at", "id"), &[], "scheduled_sms_feed"),
        ] {
            walks(&api, list.planned_once(), filters, &[index]).await;
        }
        let inbox = list!("inbox/filter", "sent_at", "id");
        for (list, filters, indexes) in [
            (list!("files/of_folder"), &[&*folder, "null"][..], &["files_folder"][..]),
            (list!("emails/list"), &["'all'"], &["emails_feed"]),
            (list!("emails/list"), &["'sent'"], &["emails_of_sender"]),
            (list!("emails/list"), &["'draft'"], &["emails_drafts"]),
            (list!("emails/list"), &["'trash'"], &["emails_trash"]),
            (
                list!("activities/filter", "due_order", "created_at", "id"),
                &["null", "null", "null", &contact, "null"],
                &["activities_of_contact"],
            ),
            (
                list!("activities/filter", "due_order", "created_at", "id"),
                &["null", "null", "null", "null", &deal],
                &["activities_of_deal"],
            ),
            (list!("conversations/of_status", "last_message_at", "id"), &["'blocked'"], &["conversations_not_active"]),
            (list!("inbox/list", "sent_at", "id"), &[], &["sms_messages_feed", "emails_feed", "calls_feed"]),
            (inbox, &["'email'", "'inbound'", "null"], &["emails_of_direction"]),
        ] {
            walks(&api, list.planned_anew(), filters, indexes).await;
        }
        let campaign = "select min(id::text) from campaigns where tenant_id = $1";
        let campaign: String = admin.query_one(campaign, &[&id]).await.unwrap().get(0);
        let campaign = format!("'{campaign}'");
        let recipients = plan(&api, sql!("campaigns/recipients"), &[&campaign]).await;
        reads(&recipients, "campaigns/recipients", &["campaign_recipients_campaign"], true);
        let inbox = plan(&api, sql!("inbox/list").planned_once(), &["50", "0"]).await;
        reads(&inbox, "inbox/list", &["sms_messages_feed", "emails_feed", "calls_feed"], false);
        reads(&plan(&api, sql!("contacts/get"), &[&contact]).await, "contacts/get", &["contacts_pkey"], true);
        let scans = "select pg_stat_get_xact_numscans('contacts_phone'::regclass)";
        let before: i64 = api.query_one(scans, &[]).await.unwrap().get(0);
        api.execute("select app.contact_of_number('+13012345678')", &[]).await.unwrap();
        let after: i64 = api.query_one(scans, &[]).await.unwrap().get(0);
        assert!(after > before, "who writes is not found by contacts_phone");
        let text = "'zqxjk1@x.example'";
        let mail = [text, text, text, text, "null", "null", "null", "'{}'", "'{}'", "null", text];
        let received = plan(&api, sql!("webhooks/received").planned_anew(), &mail).await;
        reads(&received, "webhooks/received", &["contacts_search"], false);
        api.batch_execute("set local enable_seqscan = off").await.unwrap();
        let opt_outs = plan(&api, sql!("webhooks/mail_opt_outs").planned_anew(), &["'[]'"]).await;
        reads(&opt_outs, "webhooks/mail_opt_outs", &["campaign_recipients_pkey", "emails_tenant_id_key"], false);
        api.batch_execute("rollback").await.unwrap();
    }

    // A table of a few pages is read as a whole, whatever its indexes: what matters is that a report need not do so.
    for company in [&companies[0], companies.last().unwrap()] {
        let (id, user): (Uuid, Uuid) = (company.get(0), company.get(1));
        api.batch_execute("begin; set local enable_seqscan = off").await.unwrap();
        api.batch_execute(&enter(id, user)).await.unwrap();
        let deals: &[&str] = &["'2025-12-24'", "'2026-06-30'", "null", "null"];
        let part = [deals, &["'0001-01-01'", "'00000000-0000-0000-0000-000000000000'", "100"]].concat();
        let by = |unit: &'static str| [deals, &["null", unit]].concat();
        let first = async |table: &str| -> String {
            let first = format!("select quote_literal(min(id::text)) from {table} where tenant_id = $1");
            admin.query_one(&first, &[&id]).await.unwrap().get(0)
        };
        let (pipeline, deal, conversation) =
            (first("pipelines").await, first("deals").await, first("conversations").await);
        let (folder, email, run, workflow) = (
            first("folders").await,
            first("emails").await,
            first("workflow_executions").await,
            first("workflows").await,
        );
        let file = format!("array[{}::uuid]", first("files").await);
        for (report, parameters, indexes) in [
            (sql!("analytics/dashboard").planned_once(), deals.to_vec(), &["deals_feed", "activities_feed"][..]),
            (sql!("analytics/pipeline").planned_once(), deals.to_vec(), &["deal_sums_week", "deals_feed"]),
            (sql!("analytics/activities").planned_anew(), deals.to_vec(), &["activities_made"]),
            (sql!("analytics/revenue").planned_once(), vec![], &["deals_won"]),
            (sql!("analytics/users").planned_once(), vec![], &["deal_sums_week"]),
            (
                sql!("analytics/emails").planned_once(),
                deals[..3].to_vec(),
                &["emails_sent", "emails_opened", "campaign_recipients_sent"],
            ),
            (sql!("analytics/calls").planned_anew(), deals[..3].to_vec(), &["calls_made", "calls_recorded"]),
            (sql!("analytics/contacts").planned_anew(), deals[..3].to_vec(), &[]),
            (
                sql!("analytics/custom").planned_once(),
                [deals, &["null"]].concat(),
                &["deal_sums_week", "activities_made"],
            ),
            (sql!("analytics/custom_by_owner").planned_once(), by("'user'"), &["deal_sums_week", "activities_made"]),
            (sql!("analytics/custom_by_time").planned_once(), by("'day'"), &["deals_feed", "activities_made"]),
            (sql!("analytics/export_totals").planned_once(), deals.to_vec(), &["deal_sums_week"]),
            (sql!("analytics/export_rows").planned_once(), part, &["deals_feed"]),
            (sql!("contacts/summary"), vec![], &[]),
            (sql!("contacts/listening"), vec![], &["workflows_listening"]),
            (sql!("emails/stats"), vec![], &[]),
            (sql!("sms/analytics"), vec!["30"], &["sms_messages_feed"]),
            (sql!("conversations/overview"), vec![], &["conversations_feed"]),
            (sql!("notifications/unread_count"), vec![], &["notifications_unread"]),
            // Lists without pages: a company has a few dozen of each.
            (sql!("companies/users"), vec![], &["users_company"]),
            (sql!("users/list"), vec![], &["users_company"]),
            (sql!("teams/list"), vec![], &["users_team"]),
            (sql!("pipelines/list"), vec![], &[]),
            (sql!("pipelines/stages"), vec![&pipeline], &["pipeline_stages_order"]),
            (sql!("sms/phone_numbers"), vec![], &[]),
            (sql!("sms/templates"), vec![], &[]),
            (sql!("files/root_folders"), vec![], &["folders_by_name", "files_folder"]),
            (sql!("files/subfolders"), vec![&folder], &["folders_by_name", "files_folder"]),
            // Rows that belong to one row.
            (sql!("deals/history"), vec![&deal], &["deal_stage_history_deal"]),
            (sql!("conversations/get"), vec![&conversation, "50"], &["sms_messages_of_conversation"]),
            (sql!("emails/thread"), vec![&email], &["emails_of_thread"]),
            (sql!("mailing/attachments"), vec![&file], &[]),
            (sql!("workflows/steps"), vec![&run], &["workflow_steps_position_key"]),
            (sql!("workflows/dry_run"), vec![&workflow, "null"], &["workflows_pkey"]),
            (sql!("audit/list").planned_anew(), vec!["null", "null", "null", "50", "0"], &["audit_log_feed"]),
            (sql!("audit/list").planned_anew(), vec!["'teams'", "null", "null", "50", "0"], &["audit_log_of_table"]),
            (sql!("audit/list").planned_anew(), vec!["null", &deal, "null", "50", "0"], &["audit_log_record"]),
        ] {
            let plan = plan(&api, report, &parameters).await;
            reads(&plan, report.name, indexes, false);
            for node in nodes(&plan).iter().filter(|n| n["Index Name"].is_string() && n["Relation Name"] != "members") {
                let condition = node["Index Cond"].as_str().unwrap_or_default();
                let own = ["tenant_id", "id =", "company_id"].iter().any(|key| condition.contains(key));
                assert!(own, "{} reads all companies of {}: {plan:#}", report.name, node["Index Name"]);
            }
        }
        api.batch_execute("rollback").await.unwrap();
    }

    let (id, user): (Uuid, Uuid) = (companies[0].get(0), companies[0].get(1));
    api.batch_execute("begin").await.unwrap();
    api.batch_execute(&enter(id, user)).await.unwrap();
    let prefix = sql!("contacts/find_by_prefix").planned_anew();
    let found = plan(&api, prefix, &["'mari'", "null", "null", "null", "50", "0"]).await;
    reads(&found, "contacts/find_by_prefix", &["contacts_first_name", "contacts_last_name"], false);
    let part = sql!("contacts/find").planned_anew();
    let found = plan(&api, part, &["'zqxjk'", "null", "null", "null", "null", "50", "0"]).await;
    reads(&found, "contacts/find", &["contacts_search"], false);
    let condition = nodes(&found).iter().find_map(|n| n["Index Cond"].as_str()).unwrap_or_default().to_owned();
    assert!(condition.contains("search_text"), "the text is not an index condition: {condition}");
    let found = plan(&api, sql!("search/find").planned_anew(), &["'zqxjk'", "20"]).await;
    reads(&found, "search/find", &["contacts_search", "deals_search", "quotes_search", "files_search"], false);
    drop((api, admin));
    own.drop().await;
}
