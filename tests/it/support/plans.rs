//! Query plans, on tables that are full enough for them.

use crate::support::database::OwnDatabase;
use ringfence::{
    commands::demo,
    db::{self, Plan, Sql},
};
use serde_json::Value;
use tokio_postgres::Client;

/// The plan of a statement as its callers get it: prepared, and executed often enough for PostgreSQL to have settled.
pub async fn plan(api: &Client, statement: Sql, parameters: &[&str]) -> Value {
    explain(api, statement, parameters, "format json").await
}

/// What `explain` prints with these options for a statement, planned as its callers get it.
pub async fn explain(api: &Client, statement: Sql, parameters: &[&str], options: &str) -> Value {
    let mode = match statement.plan {
        Plan::Auto => "auto",
        Plan::Once => "force_generic_plan",
        Plan::Anew => "force_custom_plan",
    };
    let call = match parameters {
        [] => "execute p".to_owned(),
        some => format!("execute p ({})", some.join(", ")),
    };
    let setup = format!("set local plan_cache_mode = {mode}; prepare p as {}", statement.text);
    api.batch_execute(&setup).await.unwrap_or_else(|e| panic!("{}: {e:?}", statement.name));
    for _ in 0..6 {
        api.batch_execute(&call).await.unwrap_or_else(|e| panic!("{}: {e:?}", statement.name));
    }
    let explained = api.simple_query(&format!("explain ({options}) {call}")).await.unwrap();
    let text = explained.iter().find_map(|m| match m {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(text.unwrap()).unwrap();
    api.batch_execute("deallocate p").await.unwrap();
    plan[0]["Plan"].clone()
}

/// Every node of a plan that is executed, the subplans of policies too.
pub fn nodes(plan: &Value) -> Vec<&Value> {
    if is_idle(plan) {
        return Vec::new();
    }
    std::iter::once(plan).chain(below(plan).iter().flat_map(nodes)).collect()
}

pub fn below(plan: &Value) -> &[Value] {
    plan["Plans"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether a filter that is evaluated first, such as on the kind of a message, is false, so that nothing runs.
fn is_idle(plan: &Value) -> bool {
    let outer = below(plan).iter().find(|node| node["Parent Relationship"] == "Outer");
    plan["One-Time Filter"] == "false" || outer.is_some_and(is_idle)
}

/// Fills a database with this many companies, the first of them the largest, and about `of_each` rows of each kind.
pub async fn fill(own: &OwnDatabase, companies: u32, of_each: u64) -> Client {
    let amounts = demo::Amounts {
        contacts: of_each,
        messages: of_each,
        deals: of_each,
        activities: of_each,
        ..demo::Amounts::default()
    };
    demo::generate(&own.admin, companies, amounts).await.unwrap();
    let admin = db::connect(&own.admin).await.unwrap();
    admin.batch_execute(include_str!("plans.sql")).await.unwrap();
    admin.batch_execute("vacuum analyze").await.unwrap();
    admin
}
