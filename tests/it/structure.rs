//! Rules for the structure of the code: what is easy to forget fails here, and the message says what to do.

use crate::support::{
    command::text,
    repository::{files, name},
};
use ringfence::api;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files(folder, "rs").into_iter().map(read).collect()
}

fn areas() -> BTreeSet<&'static str> {
    api::routes().map(|r| r.area.rsplit("::").next().unwrap()).collect()
}

#[test]
fn every_statement_is_used() {
    let by_hand = [
        "ops/backfill/run",
        "ops/backfill/undo",
        "ops/backlog",
        "ops/partition/by_company",
        "ops/policies",
        "ops/sizes",
    ];
    let code: String = sources("src").into_iter().map(|(_, text)| text).collect();
    for path in files("sql", "sql") {
        let name = name(&path);
        let calls = [format!("sql!(\"{name}\")"), format!("list!(\"{name}\"")];
        let is_used = by_hand.contains(&name.as_str()) || calls.iter().any(|call| code.contains(call));
        assert!(is_used, "sql/{name}.sql is used nowhere: delete it, or name it here if it is run at psql");
    }
}

#[test]
fn every_area_has_its_folder_and_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for area in areas() {
        assert!(root.join(format!("tests/it/{area}.rs")).exists(), "tests/it/{area}.rs is missing");
        // Registration runs before a company exists, with statements in sql/platform.
        let folder = root.join(format!("sql/{area}"));
        assert!(folder.exists() || area == "registration", "sql/{area}/ is missing");
    }
}

#[test]
fn an_area_knows_no_other_area_and_the_database_knows_none() {
    for (path, text) in sources("src/api") {
        if path.ends_with("src/api/mod.rs") {
            continue;
        }
        let imported: Vec<&str> = text
            .split("use super::{")
            .skip(1)
            .flat_map(|group| group.split("};").next().unwrap().split([',', '{', '}', ' ', '\n']))
            .map(|name| name.split("::").next().unwrap())
            .collect();
        for area in areas() {
            let own = path.components().any(|c| c.as_os_str().to_string_lossy().trim_end_matches(".rs") == area);
            let is_named = |way: &str| text.contains(&format!("{way}::{area}"));
            assert!(
                own || !is_named("super") && !is_named("api") && !imported.contains(&area),
                "{} uses the area {area}: join in SQL, or move what is shared out of it",
                path.display()
            );
        }
    }
    for (path, text) in sources("src/db").into_iter().chain(sources("src/clients")) {
        for module in ["crate::api", "crate::jobs"] {
            assert!(!text.contains(module), "{} uses {module}", path.display());
        }
    }
    for (path, text) in sources("src/clients") {
        assert!(!text.contains("crate::db"), "{} uses the database", path.display());
    }
}

#[test]
fn only_the_database_module_can_connect() {
    for (path, text) in sources("src") {
        let inside = path.to_string_lossy().contains("/src/db/");
        for forbidden in ["deadpool::", "Pool::builder", "NoTls", ".batch_execute(\"begin", "for_company("] {
            let work =
                path.to_string_lossy().contains("/src/jobs/") || path.to_string_lossy().contains("/src/api/webhooks/");
            let job = forbidden == "for_company(" && work;
            assert!(
                inside || job || !text.contains(forbidden),
                "{} has {forbidden}: only src/db opens connections and transactions",
                path.display()
            );
        }
    }
}

/// A separate task does not see what its request has not committed.
#[test]
fn requests_go_on_elsewhere_only_after_a_commit() {
    let allowed = [
        ("src/lib.rs", 1),
        ("src/server.rs", 6),
        ("src/drain.rs", 1),
        ("src/streaming.rs", 3),
        ("src/passwords.rs", 1),
        ("api/auth.rs", 1),
        ("clients/smtp.rs", 1),
        ("clients/storage.rs", 1),
        ("commands/backfill.rs", 2),
        ("db/address.rs", 1),
        ("db/admission.rs", 2),
        ("db/local/mod.rs", 1),
        ("db/pool.rs", 1),
        ("jobs/mod.rs", 3),
    ];
    for (path, text) in sources("src") {
        // A command is spawned without an argument.
        let spawned = text.matches("spawn(").count() - text.matches("spawn()").count();
        let allowed = allowed.iter().find(|(file, _)| path.ends_with(file)).map_or(0, |(_, count)| *count);
        assert_eq!(
            spawned,
            allowed,
            "{}: use App::run_to_completion for what goes on without its request",
            path.display()
        );
    }
}

/// In a suspended company nothing works except opt-outs, and providers' responses about what was already sent.
#[test]
fn only_opt_outs_and_answers_enter_a_suspended_company() {
    let opt_outs = [("webhooks/twilio.rs", 1), ("webhooks/sendgrid.rs", 2), ("webhooks/tracking.rs", 1)];
    let answers = [("src/telephony.rs", 2), ("src/mailing.rs", 1), ("jobs/campaign.rs", 2), ("workflow_run/mod.rs", 1)];
    for (path, text) in sources("src") {
        let path = path.to_string_lossy();
        for (door, allowed) in [("for_opt_out", &opt_outs[..]), ("for_answer", &answers[..])] {
            let used = text.matches(&format!("TenantDb::{door}")).count();
            let may = allowed.iter().find(|(file, _)| path.ends_with(file)).map_or(0, |(_, times)| *times);
            assert_eq!(used, may, "{path} enters suspended companies");
        }
        assert!(path.ends_with("src/db/tenant.rs") || !text.contains("even_suspended"), "{path}");
    }
}

#[test]
fn the_context_is_set_for_a_transaction_and_in_one_place() {
    for path in files("sql", "sql") {
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        let enter = ["platform/enter", "platform/enter_job", "platform/enter_standby"].contains(&name(&path).as_str());
        assert!(
            enter || !text.contains("set_config") && !text.contains("set app."),
            "{} sets the context",
            path.display()
        );
        assert!(
            !text.contains(", false)") || !text.contains("set_config"),
            "{} sets it for the session",
            path.display()
        );
    }
    for (path, text) in sources("src") {
        assert!(!text.contains("set app.") && !text.contains("set_config"), "{} sets the context", path.display());
    }
}

/// Policies filter by company and defaults fill it in; a filter in a statement suggests an unprotected table.
#[test]
fn area_statements_do_not_filter_by_company() {
    for path in files("sql", "sql") {
        let name = name(&path);
        if ["platform/", "lint/", "ops/", "import/", "demo/", "jobs/"].iter().any(|free| name.starts_with(free)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String = text.lines().filter(|l| !l.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        let arbiter = code.replace("on conflict (tenant_id", "");
        assert!(!arbiter.contains("tenant_id"), "sql/{name}.sql names tenant_id");
        for filter in ["company_id =", "company_id=", "= company_id"] {
            assert!(!code.contains(filter), "sql/{name}.sql filters by company_id");
        }
    }
}

#[test]
fn statements_and_areas_stay_small() {
    for path in files("sql", "sql") {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 60, "{} has {lines} lines: make a view or a function of it", path.display());
    }
    for (path, text) in sources("src/api") {
        let lines = text.lines().count();
        assert!(lines <= 420, "{} has {lines} lines: make a folder of it", path.display());
    }
}

/// The words in a text that begin with `start` and continue with such characters.
fn words<'a>(text: &'a str, start: &'a str, is_part: impl Fn(char) -> bool + 'a) -> impl Iterator<Item = &'a str> {
    text.match_indices(start).map(move |(place, _)| {
        let rest = &text[place..];
        &rest[..rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())]
    })
}

#[test]
fn what_deploy_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let help = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("--help").env_clear().output().unwrap();
    let (help, metrics) = (text(&help.stdout), std::fs::read_to_string(root.join("src/metrics.rs")).unwrap());
    let mut seen = 0;
    for entry in std::fs::read_dir(root.join("deploy")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read_to_string(&path).unwrap();
        let is_capital = |c: char| c.is_ascii_uppercase() || c == '_';
        for name in words(&content, "RINGFENCE_", is_capital).chain(words(&content, "DATABASE_", is_capital)) {
            let known = [']', '='].iter().any(|end| help.contains(&format!("[env: {name}{end}")));
            assert!(known, "{} names {name}, which `ringfence --help` does not", path.display());
            seen += 1;
        }
        if path.ends_with("alerts.yml") {
            for name in words(&content, "ringfence_", |c| c.is_ascii_lowercase() || c == '_') {
                let series = name.trim_end_matches("_bucket");
                assert!(metrics.contains(&format!("\"{series}\"")), "alerts.yml names {series}, which nobody measures");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

/// tests/README.md says where each promise is tested.
#[test]
fn the_tests_of_promises_are_there() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md")).unwrap();
    let table = readme.split("## Promises and their tests").nth(1).unwrap().split("\n## ").next().unwrap();
    let tests: String = sources("tests/it").into_iter().map(|(_, text)| text).collect();
    let mut seen = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.contains("no test:")) {
        let Some(column) = row.trim_end_matches(['|', ' ']).rsplit('|').next().filter(|c| c.contains('`')) else {
            continue;
        };
        for name in column.split('`').skip(1).step_by(2) {
            assert!(tests.contains(&format!("fn {name}(")), "tests/README.md names {name}, and no test is called so");
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

/// The number, the file's name and the text of each migration.
fn migrations() -> impl Iterator<Item = (u32, String, String)> {
    files("migrations", "sql").into_iter().map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name[1..5].parse().unwrap(), name, std::fs::read_to_string(&path).unwrap())
    })
}

/// Servers of the previous version go on during and after a migration, unless it says that they cannot.
#[test]
fn migrations_that_break_older_programs_say_so() {
    for (number, name, sql) in migrations() {
        let sql = sql.to_lowercase();
        let code: String =
            sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        // A numeric column that gets more digits is read as before, and its table is not rewritten.
        let code = code.replace(" type numeric,", "").replace(" type numeric;", "");
        if number <= 38 || code.contains("app.oldest_program()") {
            continue;
        }
        for breaking in ["drop table", "drop column", "drop function", "drop view", "rename", "set not null", " type "]
        {
            assert!(
                !code.contains(breaking),
                "{name} has `{breaking}`: leave that to a later version, or set app.oldest_program() to {number}"
            );
        }
    }
}

/// The name of each list in a source, and how it is planned.
fn planned_lists(source: &str) -> impl Iterator<Item = (&str, &str)> {
    source.split("list!(\"").skip(1).map(|call| {
        let (name, rest) = call.split_once('"').unwrap();
        let plan = rest.split_once(").").and_then(|(_, plan)| plan.split_once("()"));
        (name, plan.map_or("", |(plan, _)| plan))
    })
}

/// A single plan for all values of the filters, including null, expects few rows for each, and reads and sorts the
/// whole company. If PostgreSQL may choose, it uses a custom plan only for the first requests of a connection.
#[test]
fn lists_say_how_they_are_planned() {
    let scale = include_str!("scale.rs");
    let mut seen = 0;
    for (path, source) in sources("src/api") {
        for (name, plan) in planned_lists(&source) {
            let sql = std::fs::read_to_string(format!("{}/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let is_filtered = sql.contains(" is null or ");
            let fits = if is_filtered { &["planned_anew"][..] } else { &["planned_anew", "planned_once"] };
            assert!(fits.contains(&plan), "{}: list!(\"{name}\") is to be {}", path.display(), fits.join(" or "));
            let measured = planned_lists(scale).filter(|(other, _)| *other == name).all(|(_, other)| other == plan);
            assert!(measured, "tests/it/scale.rs plans {name} otherwise than {}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

/// On a large database, indexes are built before the migration, without blocking writers.
#[test]
fn indexes_may_be_there_before_their_migration() {
    for (_, name, sql) in migrations().filter(|(number, ..)| *number >= 65) {
        for index in ["create index ", "create unique index "].into_iter().flat_map(|made| sql.split(made).skip(1)) {
            let table = index.split(" on ").nth(1).and_then(|rest| rest.split([' ', '(']).next()).unwrap_or_default();
            let is_new = sql.contains(&format!("create table {table} "));
            assert!(
                is_new || index.starts_with("if not exists "),
                "{name}: an index of {table} without `if not exists`"
            );
        }
    }
}

/// Code that several test files need belongs in support: nobody looks for it in the tests of an area.
#[test]
fn test_files_use_support_and_not_each_other() {
    for (path, text) in sources("tests/it") {
        let uses = text.split(concat!("use ", "crate::")).skip(1);
        for used in uses {
            assert!(used.starts_with("support"), "{}: move what it uses to tests/it/support", path.display());
        }
    }
}
