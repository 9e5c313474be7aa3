//! The cost of a page grows with the page, not with its company or the other companies; that of a report may grow with
//! its company. Rows and blocks read are counted, because times depend on the machine.

use crate::support::{
    database::{OwnDatabase, enter},
    plans::{explain, fill, nodes},
};
use ringfence::{
    db::{self, List, Sql},
    list, sql,
};
use std::collections::BTreeMap;
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

/// What the cost of a statement may grow with.
#[derive(Clone, Copy, PartialEq)]
enum With {
    Page,
    Company,
}

/// What a statement has read, in rows and in blocks.
#[derive(Clone, Copy, Debug)]
struct Cost {
    rows: f64,
    blocks: f64,
}

/// Executes a statement, counts what it reads of tables and indexes, and checks that policies read settings once.
async fn cost(api: &Client, statement: Sql, parameters: &[&str]) -> Cost {
    let plan = explain(api, statement, parameters, "analyze, verbose, buffers, timing off, format json").await;
    let mut rows = 0.0;
    for node in nodes(&plan) {
        let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
        // Rows of the index below a bitmap are counted at the table above it.
        if node["Relation Name"].is_string() {
            let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
            rows += number("Actual Loops") * (number("Actual Rows") + removed);
        }
        // A policy gets the setting that it compares with from a subplan.
        let once =
            !node.to_string().contains("current_setting") || node["Plans"].is_array() || number("Actual Loops") <= 1.0;
        assert!(once, "{} evaluates a policy for each row: {plan:#}", statement.name);
    }
    let blocks = ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| plan[name].as_f64().unwrap_or(0.0));
    Cost { rows, blocks: blocks.iter().sum() }
}

/// The statement's name and parameters, with `…` for ids, which differ between databases.
fn named(statement: Sql, parameters: &[&str]) -> String {
    let short = parameters.iter().map(|text| if text.len() < 20 { text } else { "…" });
    [statement.name].into_iter().chain(short).collect::<Vec<_>>().join(" ")
}

/// The key of a list in the row nine tenths down.
async fn far_down(api: &Client, list: List, filters: &[&str]) -> Vec<String> {
    let key: Vec<String> = list.key.iter().map(|column| format!("quote_nullable({column}::text)")).collect();
    let call = format!("execute d ({})", [filters, &["1000000", "0"]].concat().join(", "));
    let name = list.first.name;
    let prepare = format!(
        "prepare d as with c as materialized ({}) select {} from c offset (select count(*) * 9 / 10 from c) limit 1",
        list.first.text,
        key.join(", ")
    );
    api.batch_execute(&prepare).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let found = api.simple_query(&call).await.unwrap();
    api.batch_execute("deallocate d").await.unwrap();
    let row = found.iter().find_map(|m| match m {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap_or_else(|| panic!("{name} is empty"));
    (0..list.key.len()).map(|at| row.get(at).unwrap().to_owned()).collect()
}

/// Costs of the statements, by name, in the largest company of a database with this many companies.
async fn costs(companies: u32, of_each: u64) -> BTreeMap<String, (With, Cost)> {
    let own = OwnDatabase::new().await;
    let admin = fill(&own, companies, of_each).await;
    let largest = "select k.company_id, k.user_id from app.caller k join users u on u.id = k.user_id
        where u.user_role = 'company_admin' and u.email = 'admin@company1.generated.example'";
    let largest = admin.query_one(largest, &[]).await.unwrap();
    let (company, user): (Uuid, Uuid) = (largest.get(0), largest.get(1));
    let first = async |table: &str| -> String {
        let first = format!("select quote_literal(min(id::text)) from {table} where tenant_id = $1");
        admin.query_one(&first, &[&company]).await.unwrap().get(0)
    };
    let (stage, deal, conversation) =
        (first("pipeline_stages").await, first("deals").await, first("conversations").await);
    let (contact, email) = (first("contacts").await, first("emails").await);
    let owner = format!("'{user}'");
    let few = "'00000000-0000-7000-8000-000000000001'";
    let workflow = "select quote_literal(min(workflow_id::text)) from workflow_executions where tenant_id = $1";
    let workflow: String = admin.query_one(workflow, &[&company]).await.unwrap().get(0);
    let folder = "select quote_literal(id::text) from folders where tenant_id = $1 and parent_id is null";
    let folder: String = admin.query_one(folder, &[&company]).await.unwrap().get(0);

    let api = db::connect(&own.api).await.unwrap();
    // PostgreSQL would read a table of a few pages as a whole, whatever its indexes.
    api.batch_execute("begin; set local enable_seqscan = off").await.unwrap();
    api.batch_execute(&enter(company, user)).await.unwrap();
    let mut found = BTreeMap::new();
    let mut add = |name: String, with, cost| assert!(found.insert(name, (with, cost)).is_none());

    let none: &[&str] = &[];
    let activities = list!("activities/filter", "due_order", "created_at", "id").planned_anew();
    for (list, filters) in [
        (list!("contacts/list").planned_once(), none),
        (list!("contacts/filter").planned_anew(), &["'Lead'", "null", "null"]),
        (list!("contacts/filter").planned_anew(), &["'Rare'", "null", "null"]),
        (list!("contacts/filter").planned_anew(), &["null", "'inactive'", "null"]),
        (list!("contacts/filter").planned_anew(), &["null", "null", &owner]),
        (list!("contacts/find").planned_anew(), &["'zqxjk'", "null", "null", "null", "null"]),
        (list!("contacts/find_by_prefix").planned_anew(), &["'zqx'", "null", "null", "null"]),
        (list!("sms/list").planned_once(), none),
        (list!("sms/of_direction").planned_once(), &["'inbound'"]),
        (list!("calls/list").planned_once(), none),
        (list!("calls/of_direction").planned_once(), &["'inbound'"]),
        (list!("deals/list").planned_once(), none),
        (list!("deals/of_stage").planned_once(), &[&stage]),
        (list!("activities/list", "due_order", "created_at", "id").planned_once(), none),
        (activities, &["'deadline'", "null", "null", "null", "null"]),
        (activities, &["null", "'pending'", "null", "null", "null"]),
        (activities, &["null", "'cancelled'", "null", "null", "null"]),
        (activities, &["null", "'overdue'", "null", "null", "null"]),
        (activities, &["null", "null", "false", "null", "null"]),
        (activities, &["null", "null", "null", &contact, "null"]),
        (activities, &["null", "null", "null", "null", &deal]),
        (list!("quotes/list").planned_once(), none),
        (list!("quotes/of_status").planned_once(), &["'sent'"]),
        (list!("files/list").planned_once(), none),
        (list!("files/of_category").planned_once(), &["'c'"]),
        (list!("files/of_folder").planned_anew(), &[&folder, "null"]),
        (list!("emails/received").planned_once(), none),
        (list!("emails/list").planned_anew(), &["'all'"]),
        (list!("emails/list").planned_anew(), &["'sent'"]),
        (list!("emails/list").planned_anew(), &["'draft'"]),
        (list!("emails/list").planned_anew(), &["'trash'"]),
        (list!("inbox/list", "sent_at", "id").planned_once(), none),
        (list!("inbox/filter", "sent_at", "id").planned_anew(), &["'sms'", "null", "null"]),
        (list!("inbox/filter", "sent_at", "id").planned_anew(), &["null", "'inbound'", "null"]),
        (list!("suppressions/list").planned_once(), none),
        (list!("conversations/list", "last_message_at", "id").planned_once(), none),
        (list!("conversations/of_status", "last_message_at", "id").planned_anew(), &["'blocked'"]),
        (list!("campaigns/list").planned_once(), none),
        (list!("campaigns/of_status").planned_anew(), &["'draft'"]),
        (list!("workflows/list").planned_once(), none),
        (list!("workflows/of_status").planned_once(), &["'inactive'"]),
        (list!("workflows/executions").planned_once(), &[&workflow]),
        (list!("notifications/list").planned_once(), none),
        (list!("notifications/unread").planned_once(), none),
        (list!("sms/scheduled", "scheduled_at", "id").planned_once(), none),
        (list!("audit/list").planned_anew(), &["null", "null", "null"]),
        (list!("audit/list").planned_anew(), &["'teams'", "null", "null"]),
        (list!("audit/list").planned_anew(), &["null", "null", few]),
    ] {
        let name = named(list.first, filters);
        add(name.clone(), With::Page, cost(&api, list.first, &[filters, &["20", "0"]].concat()).await);
        // The rows that belong to one row do not fill thousands of pages.
        let of_one = filters.contains(&contact.as_str()) || filters.contains(&deal.as_str());
        if of_one || ["contacts/find", "contacts/find_by_prefix"].contains(&list.first.name) {
            continue;
        }
        let key = far_down(&api, list, filters).await;
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let page = cost(&api, list.behind, &[filters, &["20", "0"], &key].concat()).await;
        add(format!("{name}, far down"), With::Page, page);
    }
    for (statement, parameters) in [
        (sql!("search/find").planned_anew(), &["'zqxjk'", "20"][..]),
        (sql!("conversations/get"), &[&conversation, "20"]),
        (sql!("emails/thread"), &[&email]),
        (sql!("workflows/dry_run"), &[&workflow, "null"]),
        (sql!("deals/history"), &[&deal]),
        (
            sql!("analytics/export_rows").planned_once(),
            &["null", "null", "null", "null", "'0001-01-01'", "'00000000-0000-0000-0000-000000000000'", "20"],
        ),
    ] {
        add(named(statement, parameters), With::Page, cost(&api, statement, parameters).await);
    }
    let period: &[&str] = &["'2025-12-24'", "'2026-06-30'", "null", "null"];
    let by = |unit: &'static str| [period, &["null", unit]].concat();
    for (statement, parameters) in [
        (sql!("analytics/dashboard").planned_once(), period.to_vec()),
        (sql!("analytics/pipeline").planned_once(), period.to_vec()),
        (sql!("analytics/activities").planned_anew(), period.to_vec()),
        (sql!("analytics/revenue").planned_once(), vec![]),
        (sql!("analytics/users").planned_once(), vec![]),
        (sql!("analytics/emails").planned_once(), period[..3].to_vec()),
        (sql!("analytics/calls").planned_anew(), period[..3].to_vec()),
        (sql!("analytics/contacts").planned_anew(), period[..3].to_vec()),
        (sql!("analytics/custom").planned_once(), [period, &["null"]].concat()),
        (sql!("analytics/custom_by_owner").planned_once(), by("'user'")),
        (sql!("analytics/custom_by_time").planned_once(), by("'day'")),
        (sql!("analytics/export_totals").planned_once(), period.to_vec()),
        (sql!("contacts/summary"), vec![]),
        (sql!("emails/stats"), vec![]),
        (sql!("sms/analytics"), vec!["30"]),
        (sql!("conversations/overview"), vec![]),
        (sql!("notifications/unread_count"), vec![]),
        // The status in the inbox is computed from the states in three tables, and no index has it.
        (sql!("inbox/filter").planned_anew(), vec!["null", "null", "'failed'", "20", "0"]),
    ] {
        add(statement.name.to_owned(), With::Company, cost(&api, statement, &parameters).await);
    }
    api.batch_execute("rollback").await.unwrap();
    drop((api, admin));
    own.drop().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_the_same_in_a_larger_company_and_among_more_companies() {
    // The largest company has 1,000 rows of each kind, 10,000, and 1,000 again.
    let (small, large, many) = tokio::join!(costs(10, 3_180), costs(10, 31_800), costs(100, 6_430));
    let mut wrong = Vec::new();
    for (name, (with, before)) in &small {
        let mut check = |what: &str, now: &Cost, times: f64, blocks: f64| {
            if now.rows > before.rows * times + 50.0 || now.blocks > before.blocks * times + blocks {
                wrong.push(format!("{name} {what}: {before:?} has become {now:?}"));
            }
        };
        let ((_, larger), (_, among)) = (&large[name], &many[name]);
        match with {
            With::Page => {
                check("in a company ten times as large", larger, 1.5, 40.0);
                check("among ten times as many companies", among, 1.5, 40.0);
            }
            // No limit on blocks: depending on an index's order, a block is read once, or once for each of its rows.
            With::Company => {
                // A user's share of a company differs between databases.
                check("in a company ten times as large", larger, 20.0, f64::INFINITY);
                check("among ten times as many companies", among, 1.5, f64::INFINITY);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Checks the counting: a statement that reads its whole company is found.
#[tokio::test]
async fn what_reads_a_whole_company_is_seen() {
    let own = OwnDatabase::new().await;
    let admin = fill(&own, 2, 1_000).await;
    let company = "select company_id, user_id from app.caller where company_id is not null limit 1";
    let row = admin.query_one(company, &[]).await.unwrap();
    let (company, user): (Uuid, Uuid) = (row.get(0), row.get(1));
    let contacts: i64 =
        admin.query_one("select count(*) from contacts where tenant_id = $1", &[&company]).await.unwrap().get(0);
    let api = db::connect(&own.api).await.unwrap();
    api.batch_execute("begin").await.unwrap();
    api.batch_execute(&enter(company, user)).await.unwrap();
    let sorted = Sql { text: "select id from contacts order by phone desc limit 20", ..sql!("contacts/list") };
    assert!(cost(&api, sorted, &[]).await.rows >= contacts as f64);
    let page = cost(&api, sql!("contacts/list").planned_once(), &["20", "0"]).await;
    assert!(page.rows <= 25.0, "{page:?}");
    drop((api, admin));
    own.drop().await;
}
