//! Rules of the code's shape, so that a newcomer finds the place: what is easy to forget fails here and says what to do.

use crate::schema::{files, name};
use ringfence::api;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
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
    let code: String = sources("src").into_iter().map(|(_, text)| text).collect();
    for path in files("sql", "sql") {
        let name = name(&path);
        let by_hand = name.starts_with("ops/");
        let used = [format!("sql!(\"{name}\")"), format!("list!(\"{name}\"")];
        assert!(by_hand || used.iter().any(|call| code.contains(call)), "sql/{name}.sql is used nowhere: delete it");
    }
}

#[test]
fn every_area_has_its_folder_and_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for area in areas() {
        assert!(root.join(format!("tests/it/{area}.rs")).exists(), "tests/it/{area}.rs is missing");
        // Registration and its kin run before a company exists, by the statements of sql/platform.
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
        for area in areas() {
            let own = path.components().any(|c| c.as_os_str().to_string_lossy().trim_end_matches(".rs") == area);
            assert!(
                own || !text.contains(&format!("super::{area}")) && !text.contains(&format!("api::{area}")),
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

/// Of a suspended company nothing works but that somebody wants no more from it.
#[test]
fn only_opt_outs_enter_a_suspended_company() {
    let allowed = [("webhooks/mod.rs", 1), ("webhooks/mail.rs", 2), ("webhooks/readers.rs", 1)];
    for (path, text) in sources("src") {
        let (path, used) = (path.to_string_lossy(), text.matches("TenantDb::for_opt_out").count());
        let may = allowed.iter().find(|(file, _)| path.ends_with(file)).map_or(0, |(_, times)| *times);
        assert_eq!(used, may, "{path} enters suspended companies");
        assert!(path.ends_with("src/db/tenant.rs") || !text.contains("even_blocked"), "{path}");
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

/// The policy filters and the default fills; a filter beside them is a table that lacks protection.
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
