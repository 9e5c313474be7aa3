//! Checks that this database is as safe as the migrations left it. The rules are statements in `sql/lint/`: each lists
//! what violates it and the remedy, and nothing if all is well. They read only the catalog, and which logins were
//! granted companies.

use crate::{
    clients::storage::Storage,
    commands::backup,
    db::{self, Sql, UNFINISHED_RESTORE},
    say,
    seal::Sealer,
    sql, store_owner,
};
use anyhow::bail;
use tokio_postgres::Client;

/// Rules without which the server does not start.
const VITAL: &[Sql] = &[
    sql!("lint/unprotected_tables"),
    sql!("lint/policies"),
    sql!("lint/overlapping_policies"),
    sql!("lint/roles"),
    sql!("lint/context"),
    sql!("lint/triggers"),
    sql!("lint/disabled_triggers"),
];

/// The other rules.
const FURTHER: &[Sql] = &[
    sql!("lint/tenant_columns"),
    sql!("lint/foreign_keys"),
    sql!("lint/unique_keys"),
    sql!("lint/indexes"),
    sql!("lint/definer_functions"),
    sql!("lint/leakproof_functions"),
    sql!("lint/views"),
    sql!("lint/grants"),
    sql!("lint/update_triggers"),
    sql!("lint/insert_triggers"),
    sql!("lint/operator_grants"),
    sql!("lint/operator_rights"),
    sql!("lint/operator_ddl"),
    sql!("lint/dba_role"),
];

/// A violation of a rule.
#[derive(Debug)]
pub struct Finding {
    /// The rule: the name of its file.
    pub rule: &'static str,
    /// What is wrong.
    pub finding: String,
    /// What to do about it.
    pub remedy: String,
}

/// Every rule.
pub fn rules() -> impl Iterator<Item = Sql> {
    VITAL.iter().chain(FURTHER).copied()
}

/// What is said of a database for which [`rules_for`] returns only some of the rules.
pub const NEWER: &str =
    "of a newer version than this program, whose rules are its own: examine it with that program's `ringfence doctor`";

/// The rules that apply to this database: for one of a newer version, only those without which a server does not start.
pub async fn rules_for(client: &Client) -> anyhow::Result<impl Iterator<Item = Sql>> {
    let further = if db::migrate::is_newer(client).await? { &[] } else { FURTHER };
    Ok(VITAL.iter().chain(further).copied())
}

/// The violations of these rules. Nothing is prepared by name here and below, so this works through any pooler.
pub async fn findings(client: &Client, rules: impl Iterator<Item = Sql>) -> anyhow::Result<Vec<Finding>> {
    let mut all = Vec::new();
    for rule in rules {
        for row in client.query_typed(rule.text, &[]).await? {
            all.push(Finding { rule: rule.name, finding: row.get("finding"), remedy: row.get("remedy") });
        }
    }
    Ok(all)
}

/// What is wrong with this connection's login role, if a server used it.
async fn login_problem(client: &Client) -> anyhow::Result<Option<String>> {
    let row = client.query_typed_one(sql!("platform/login_role").text, &[]).await?;
    Ok(row.get(0))
}

/// Refuses a database whose policies would not restrict this server.
pub async fn check_before_serving(url: &str) -> anyhow::Result<()> {
    let client = db::connect(url).await?;
    db::migrate::check_server(&client).await?;
    if backup::is_unfinished(&client).await? {
        bail!("{UNFINISHED_RESTORE}");
    }
    if let Some(problem) = login_problem(&client).await? {
        bail!(
            "DATABASE_URL must not log in as this role: it {problem}. Use ringfence_api, which `ringfence migrate` makes"
        );
    }
    if !db::migrate::is_served(&client).await? {
        bail!(
            "the database is not of this program's version, nor of one that this program still fits: run `ringfence migrate` with DATABASE_ADMIN_URL set, or a newer program"
        );
    }
    if let Some(first) = findings(&client, VITAL.iter().copied()).await?.first() {
        bail!(
            "this database would not keep companies apart: {}. Remedy: {}. See `ringfence doctor`",
            first.finding,
            first.remedy
        );
    }
    Ok(())
}

/// `ringfence doctor`: prints what is wrong, and whether that is anything. Writes nothing to the database, nor to the
/// store of files, at which it looks if it knows it; so it does at credentials, if it knows the keys.
pub async fn run(url: &str, storage: Option<&Storage>, sealer: Option<&Sealer>) -> anyhow::Result<bool> {
    let mut client = db::connect(url).await?;
    // A transaction, since a setting of the session would stay behind in a pooler.
    let transaction = client.build_transaction().read_only(true).start().await?;
    let client = transaction.client();
    let mut healthy = true;
    let mut report = |what: &str, problem: Option<String>| {
        healthy &= problem.is_none();
        match problem {
            None => say!("ok      {what}"),
            Some(problem) => say!("PROBLEM {what}: {problem}"),
        }
    };
    report("server version", db::migrate::check_server(client).await.err().map(|e| e.to_string()));
    if backup::is_unfinished(client).await? {
        report("restore", Some(UNFINISHED_RESTORE.into()));
    }
    let remedy = "DATABASE_URL should log in as ringfence_api";
    report("login role", login_problem(client).await?.map(|problem| format!("it {problem}. {remedy}")));
    if !db::migrate::is_served(client).await? {
        let problem =
            "not of this program's version, nor of one that it fits. Run `ringfence migrate`, or a newer program";
        report("migrations", Some(problem.into()));
        return Ok(false);
    }
    let newer = if db::migrate::is_newer(client).await? { format!(": {NEWER}") } else { String::new() };
    report(&format!("migrations{newer}"), None);
    // The last one is of the server and not of the database: a restore is good whatever it finds.
    for rule in rules_for(client).await?.chain([sql!("platform/other_databases")]) {
        let found = findings(client, std::iter::once(rule)).await?;
        let what = rule.name.trim_start_matches("lint/").trim_start_matches("platform/").replace('_', " ");
        if found.is_empty() {
            report(&what, None);
        }
        for Finding { finding, remedy, .. } in found {
            report(&what, Some(format!("{finding}. Remedy: {remedy}")));
        }
    }
    report("text", db::migrate::text_problem(client).await?);
    if let Some(storage) = storage {
        let problem = match store_owner::of_login(client, storage).await {
            Ok(standing) => standing.err().map(|problem| problem.to_string()),
            Err(e) => Some(format!("{e:#}")),
        };
        report("store of files", problem);
    }
    if let Some(sealer) = sealer {
        let keys = client.query_typed(sql!("platform/sealing_keys").text, &[]).await?;
        report("credentials", sealer.problem(keys.iter().map(|key| (key.get("id"), key.get("credentials")))));
    }
    Ok(healthy)
}
