//! The program as its operators run it: real processes, each test with its own database.

use crate::support::{
    command::{configured, ringfence, run, serve, text},
    database::OwnDatabase,
    server::{config, start_server, store_of},
    world::{PASSWORD, Person, World},
};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ringfence::{config::Config, db};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Runs a command with a terminal as its standard error, and returns what is drawn there.
fn at_terminal(mut command: Command) -> String {
    let size = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal.slave).spawn().unwrap();
    // The command holds the other end, too; once nobody does any more, reading ends with an error.
    drop(command);
    let mut drawn = Vec::new();
    let _ = File::from(terminal.master).read_to_end(&mut drawn);
    assert!(child.wait().unwrap().success(), "{}", text(&drawn));
    text(&drawn)
}

/// A program run by `ringfence local` can reach its PostgreSQL again after that was killed.
#[test]
fn a_private_postgresql_that_is_killed_comes_back() {
    let script = r#"kill -9 "$(head -n 1 "$PGHOST/../data/postmaster.pid")" || exit 2
        for _ in $(seq 600); do "$0" backfill plan && exit 0; sleep 0.1; done
        exit 3"#;
    let program = env!("CARGO_BIN_EXE_ringfence");
    let arguments = ["local", "--temporary", "--", "sh", "-c", script, program];
    let told = Command::new(program).args(arguments).env_remove("RUST_LOG").output().unwrap();
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
}

/// A supervisor ends the command by signalling the program that runs it.
#[test]
fn a_signal_reaches_what_is_run_with_a_private_postgresql() {
    for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT")] {
        let script = format!("trap 'echo told; exit 7' {name}; echo ready; while :; do sleep 0.1; done");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(["local", "--temporary", "--", "sh", "-c", &script]).env_remove("RUST_LOG");
        // In its own process group, so that the command gets no signal from a terminal.
        let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "told");
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}

/// On some systems psql is only in the server's folder.
#[test]
fn commands_find_the_programs_of_a_private_postgresql() {
    let arguments = [
        "local",
        "--temporary",
        "--",
        "sh",
        "-c",
        r#"test -x "${PATH##*:}/pg_ctl" && psql -Atc 'select app.oldest_program()'"#,
    ];
    let told = Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).env_remove("RUST_LOG").output().unwrap();
    assert!(told.status.success() && text(&told.stdout).trim().parse::<i32>().is_ok(), "{told:?}");
}

/// The lock that is needed to stop PostgreSQL is broken once the command has opened the database.
#[test]
fn an_error_of_the_work_is_told_rather_than_one_of_the_closing() {
    let script = r#"lock="$PGHOST/../start.lock"
        opened="select 'opened' from pg_stat_activity where application_name = 'ringfence'"
        { until psql -Atc "$opened" | grep -q opened; do sleep 0.1; done; rm "$lock"; mkdir "$lock"; echo weak; } |
            env -u DATABASE_URL -u DATABASE_ADMIN_URL RINGFENCE_DATA="$PGHOST/.." "$0" super-admin root@example.com
        told=$?; rmdir "$lock"; exit $told"#;
    let program = env!("CARGO_BIN_EXE_ringfence");
    let arguments = ["local", "--temporary", "--", "sh", "-c", script, program];
    let told = Command::new(program).args(arguments).env_remove("RUST_LOG").output().unwrap();
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
    assert!(text(&told.stderr).contains("8 characters"), "{}", text(&told.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_when_it_adds_nothing() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    admin.batch_execute("insert into companies (name) values ('Acme')").await.unwrap();
    let told = run(ringfence(&own, &["demo"]), "");
    assert!(told.status.success() && text(&told.stdout).contains("Nothing was added"), "{}", text(&told.stdout));
    admin.batch_execute("delete from companies").await.unwrap();
    // Numbers are those of a large database.
    let refused = run(ringfence(&own, &["demo", "--contacts", "5", "--deals", "7"]), "");
    assert!(!refused.status.success() && text(&refused.stderr).contains("--companies"), "{}", text(&refused.stderr));
    let told = run(ringfence(&own, &["demo"]), "");
    assert!(
        text(&told.stdout).contains("Demo logins") && !text(&told.stdout).contains("Nothing"),
        "{}",
        text(&told.stdout)
    );
    let again = text(&run(ringfence(&own, &["demo"]), "").stdout);
    assert!(again.contains("Nothing was added") && again.contains("Demo logins"), "{again}");
    drop(admin);
    own.drop().await;
}

/// `ringfence … | head` is not an error, and never interrupts work in progress.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_may_stop() {
    let own = OwnDatabase::new().await;
    for arguments in [&["openapi"][..], &["doctor"], &["backfill", "plan"], &["demo"]] {
        let mut command = ringfence(&own, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
        assert!(!text(&out.stderr).contains("panicked"), "{arguments:?}: {}", text(&out.stderr));
    }
    own.drop().await;
}

/// What is done is done, and who runs it learns that not all of it was told.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn output_that_cannot_be_written_is_told_and_fails() {
    let own = OwnDatabase::new().await;
    let folder = format!("{}/full-{}", env!("CARGO_TARGET_TMPDIR"), own.name);
    for arguments in [&["openapi"][..], &["doctor"], &["backup", &folder]] {
        let mut command = ringfence(&own, arguments);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let out = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("cannot write to standard output") && said.lines().count() == 1, "{arguments:?}: {said}");
    }
    assert!(std::path::Path::new(&folder).join("rows.json").exists());
    std::fs::remove_dir_all(folder).unwrap();
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_says_whom_it_waits_for() {
    let own = OwnDatabase::new().await;
    let holder = db::connect(&crate::support::database::with_database(&own.admin, "postgres")).await.unwrap();
    holder.batch_execute("select pg_advisory_lock(hashtext('ringfence migrate'))").await.unwrap();
    let pid: i32 = holder.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let mut migrating = ringfence(&own, &["migrate"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(migrating.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find(|line| line.contains(&format!("waiting for process {pid} of ")));
    drop(holder);
    assert!(said.is_some() && migrating.wait().unwrap().success());
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_is_content_or_says_what_to_do() {
    let own = OwnDatabase::new().await;
    let healthy = run(ringfence(&own, &["doctor"]), "");
    assert!(healthy.status.success(), "{}", text(&healthy.stdout));
    let admin = db::connect(&own.admin).await.unwrap();
    admin.batch_execute("create table notes (id uuid); create index on contacts (phone)").await.unwrap();
    let ill = run(ringfence(&own, &["doctor"]), "");
    let said = text(&ill.stdout);
    assert_eq!(ill.status.code(), Some(1), "{said}");
    for part in ["table notes has no forced row-level security", "app.protect", "does not lead with tenant_id"] {
        assert!(said.contains(part), "{said}");
    }
    drop(admin);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_role_and_a_company() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    admin.batch_execute("insert into companies (name) values ('Acme')").await.unwrap();
    let role = async |email: &str| -> (String, Option<Uuid>) {
        let row = admin
            .query_one("select user_role, company_id from users where email = $1 and status = 'active'", &[&email])
            .await
            .unwrap();
        (row.get(0), row.get(1))
    };
    let weak = run(ringfence(&own, &["super-admin", "Root@example.com"]), "weak\n");
    assert!(!weak.status.success() && text(&weak.stderr).contains("8 characters"), "{}", text(&weak.stderr));
    let none = run(ringfence(&own, &["super-admin", "Root@example.com"]), "");
    assert!(text(&none.stderr).contains("standard input"), "{}", text(&none.stderr));
    let made = run(ringfence(&own, &["super-admin", "Root@example.com"]), &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(role("root@example.com").await, ("super_admin".into(), None));

    for address in ["nobody", "a@b", "@example.com", "a b@example.com", "a@[127.0.0.1]", ""] {
        for arguments in [vec!["super-admin", address], vec!["user", "assign", address, "--company", "Acme"]] {
            let refused = run(ringfence(&own, &arguments), PASSWORD);
            let said = text(&refused.stderr);
            assert!(!refused.status.success() && said.contains("is not an e-mail address"), "{arguments:?}: {said}");
        }
    }
    let again = run(ringfence(&own, &["super-admin", " ROOT@example.com\t"]), "");
    assert_eq!(text(&again.stdout), "root@example.com is a super admin now.\n", "{}", text(&again.stderr));
    admin.batch_execute("update users set status = 'suspended' where email = 'root@example.com'").await.unwrap();
    let suspended = text(&run(ringfence(&own, &["super-admin", "root@example.com"]), "").stdout);
    assert!(suspended.contains("stays suspended"), "{suspended}");
    let remedy = suspended.split('"').nth(1).unwrap();
    assert_eq!(admin.execute(remedy, &[]).await.unwrap(), 1);
    assert_eq!(role("root@example.com").await, ("super_admin".into(), None));

    let unknown = run(ringfence(&own, &["user", "assign", "bob@example.com", "--company", "Nobody"]), "");
    assert!(text(&unknown.stderr).contains("no company named"), "{}", text(&unknown.stderr));
    let made = run(ringfence(&own, &["user", "assign", "bob@example.com", "--company", "Acme"]), PASSWORD);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let company: Uuid = admin.query_one("select id from companies", &[]).await.unwrap().get(0);
    assert_eq!(role("bob@example.com").await, ("company_user".into(), Some(company)));
    let again = run(
        ringfence(&own, &["user", "assign", "bob@example.com", "--company", "Acme", "--role", "company_admin"]),
        "",
    );
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(role("bob@example.com").await.0, "company_admin");

    let other =
        "insert into companies (name) values ('Other'); insert into users (email, first_name, last_name, company_id)
        select 'eve@example.com', 'Eve', 'E', id from companies where name = 'Acme'";
    admin.batch_execute(other).await.unwrap();
    for (arguments, sentence) in [
        (vec!["bob@example.com", "--company", "Other"], "last admin of Acme"),
        (vec!["bob@example.com", "--company", "Acme", "--role", "company_user"], "last admin of Acme"),
        (vec!["bob@example.com", "--company", "Acme", "--role", "Admin"], "last admin of Acme"),
        (
            vec!["eve@example.com", "--company", "Acme", "--role", "company-admin"],
            "none of the roles: company_admin, company_user",
        ),
        (vec!["eve@example.com", "--company", "Acme", "--role", "Super Admin"], "none of the roles"),
        (vec!["eve@example.com", "--company", "Other", "--role", ""], "must not be empty"),
        (vec!["eve@example.com", "--company", "Other", "--role", "super_admin"], "ringfence super-admin"),
    ] {
        let refused = run(ringfence(&own, &[&["user", "assign"], &*arguments].concat()), "");
        assert!(!refused.status.success() && text(&refused.stderr).contains(sentence), "{}", text(&refused.stderr));
    }
    let moved = run(ringfence(&own, &["user", "assign", "eve@example.com", "--company", "Other"]), "");
    assert!(text(&moved.stdout).contains("no longer to Acme"), "{}", text(&moved.stdout));
    // An admin who moves to another company is not an admin there.
    admin.batch_execute("update users set user_role = 'company_admin' where email = 'eve@example.com'").await.unwrap();
    let moved = run(ringfence(&own, &["user", "assign", "eve@example.com", "--company", "Acme"]), "");
    assert!(moved.status.success(), "{}", text(&moved.stderr));
    assert_eq!(role("eve@example.com").await, ("company_user".into(), Some(company)));
    // A super admin stays one when they move, unless the command says otherwise.
    for (to, more, is) in [
        ("Acme", [].as_slice(), "super_admin"),
        ("Other", &[], "super_admin"),
        ("Acme", &["--role", "company_user"], "company_user"),
    ] {
        let moved =
            run(ringfence(&own, &[&["user", "assign", "root@example.com", "--company", to], more].concat()), "");
        let said = text(&moved.stdout);
        let (company, role_is) = (format!("belongs to {to} ("), format!(") now, with the role {is}"));
        assert!(said.contains(&company) && said.contains(&role_is), "{said}{}", text(&moved.stderr));
        assert_eq!(role("root@example.com").await.0, is);
    }
    // The last admin of a company can neither leave nor be demoted.
    let alone =
        "update users set user_role = case email when 'root@example.com' then 'super_admin' else 'company_user' end
        where company_id = $1";
    admin.execute(alone, &[&company]).await.unwrap();
    for more in [["--company", "Other"].as_slice(), &["--company", "Acme", "--role", "Sales Rep"]] {
        let refused = run(ringfence(&own, &[&["user", "assign", "root@example.com"], more].concat()), "");
        assert!(text(&refused.stderr).contains("last admin of Acme"), "{}", text(&refused.stdout));
    }
    let stays = run(ringfence(&own, &["user", "assign", "root@example.com", "--company", "Acme"]), "");
    assert!(stays.status.success(), "{}", text(&stays.stderr));
    admin.batch_execute("update users set user_role = 'company_admin' where email = 'bob@example.com'").await.unwrap();
    // A user's historical rows stay with the company that they leave, unless it has such a row; those are listed.
    let same = "with kim as (insert into users (email, first_name, last_name, company_id)
          select 'kim@example.com', 'Kim', 'K', id from companies where name = 'Acme' returning id, company_id)
        insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
        select company_id, unnest(array[company_id, null]), id, 'Ada', 'L', 'ada@client.example' from kim";
    admin.batch_execute(same).await.unwrap();
    let refused = run(ringfence(&own, &["user", "assign", "kim@example.com", "--company", "Other"]), "");
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&format!("Acme ({company}) has a row")), "{said}");
    assert!(said.contains("in contacts (contacts_tenant_email_key)"), "{said}");
    assert_eq!(role("kim@example.com").await.1, Some(company));
    drop(admin);
    own.drop().await;
}

/// Companies choose their names themselves, and rows go where a name leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_can_mean_another_company_is_refused() {
    let own = OwnDatabase::new().await;
    let server = start_server(config(), &own.api);
    let (acme, stranger) = (World::alone_at(&own, &server).await, World::alone_at(&own, &server).await);
    let lone = acme.lone().await;
    let (name, ids) = (acme.name.clone(), [acme.company.to_string(), stranger.company.to_string()]);
    let file = std::env::temp_dir().join(format!("{}.zip", Uuid::new_v4()));
    let refused = |given: &str| {
        for arguments in [
            vec!["user", "assign", &lone.email, "--company", given],
            vec!["operator", "add", "op_never", "--company", given, "--generate-password"],
            vec!["erase", "company", given, "--yes"],
            vec!["erase", "person", &lone.email, "--company", given, "--yes"],
            vec!["archive", "export", "--company", given, "--to", file.to_str().unwrap()],
        ] {
            let done = run(ringfence(&own, &arguments), "");
            let said = text(&done.stderr);
            assert!(!done.status.success() && said.contains("give its id"), "{arguments:?}: {said}");
            assert!(ids.iter().all(|id| said.contains(id)), "{arguments:?}: {said}");
        }
    };
    let rename = async |world: &World, name: &str| {
        world.admin.put(&format!("/api/companies/{}", world.company), json!({ "name": name })).await.expect(200);
    };
    rename(&acme, &format!("{name} GmbH")).await;
    rename(&stranger, &name).await;
    refused(&name);
    rename(&stranger, "Stranger").await;
    // Nobody has the name now.
    let renamed = run(ringfence(&own, &["user", "assign", &lone.email, "--company", &name]), "");
    assert!(
        text(&renamed.stderr).contains(&format!("{} is \"{name} GmbH\"", acme.company)),
        "{}",
        text(&renamed.stderr)
    );
    for alike in [format!("{name}  gmbh"), format!("{} GmbH\u{200b}", name), format!("{name}\u{a0}GMBH")] {
        let set = "update companies set name = $2 where id = $1";
        acme.db.execute(set, &[&stranger.company, &alike]).await.unwrap();
        refused(&alike);
        refused(&format!("{name} GmbH"));
    }
    let shown = format!("{name} GmbH ({})", acme.company);
    for arguments in [
        vec!["user", "assign", &lone.email, "--company", &ids[0]],
        vec!["erase", "company", &ids[0], "--dry-run"],
        vec!["archive", "export", "--company", &ids[0], "--to", file.to_str().unwrap()],
    ] {
        let done = run(ringfence(&own, &arguments), "");
        assert!(done.status.success() && text(&done.stdout).contains(&shown), "{arguments:?}: {done:?}");
    }
    std::fs::remove_file(&file).unwrap();
    let of = "select company_id from users where id = $1";
    assert_eq!(acme.value::<Uuid>(of, &[&lone.id]).await, acme.company);
    drop((acme, stranger));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_and_stops_with_a_sentence_for_what_is_wrong() {
    let own = OwnDatabase::new().await;
    let secrets = |command: &mut Command| {
        command
            .env("RINGFENCE_JWT_SECRET", "x".repeat(32))
            .env("RINGFENCE_SECRET_KEY", "0a".repeat(32))
            .env("RINGFENCE_LISTEN", "127.0.0.1:0");
    };
    let bare = run(ringfence(&own, &["serve"]), "");
    assert!(
        text(&bare.stderr).contains("RINGFENCE_JWT_SECRET is not set") || text(&bare.stderr).contains("is in use"),
        "{}",
        text(&bare.stderr)
    );
    let mut short = ringfence(&own, &[]);
    secrets(&mut short);
    let short = run(
        {
            short.env("RINGFENCE_JWT_SECRET", "short");
            short
        },
        "",
    );
    assert!(text(&short.stderr).contains("shorter than 32 bytes"), "{}", text(&short.stderr));
    let mut unsafe_login = ringfence(&own, &[]);
    secrets(&mut unsafe_login);
    let refused = run(
        {
            unsafe_login.env("DATABASE_URL", &own.admin);
            unsafe_login
        },
        "",
    );
    assert!(text(&refused.stderr).contains("superuser") && !refused.status.success(), "{}", text(&refused.stderr));
    let mut away = ringfence(&own, &[]);
    secrets(&mut away);
    let away = run(
        {
            away.env("DATABASE_URL", "postgres://ringfence_api@127.0.0.1:1/x").env_remove("DATABASE_ADMIN_URL");
            away
        },
        "",
    );
    assert!(text(&away.stderr).contains("cannot connect to PostgreSQL"), "{}", text(&away.stderr));

    let mut server = ringfence(&own, &[]);
    secrets(&mut server);
    server.env("RUST_LOG", "debug");
    let mut child = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The log is read continuously, because a full pipe would block the server.
    let mut log = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let base =
        lines.find_map(|l| l.unwrap().strip_prefix("Ringfence serves on ").map(str::to_owned)).expect("it serves");
    assert_eq!(Person::nobody().at(&base).get("/readyz").await.expect(200), json!({"status": "ready"}));
    let port = base.rsplit(':').next().unwrap().to_owned();
    let mut busy = ringfence(&own, &[]);
    secrets(&mut busy);
    let busy = run(
        {
            busy.env("RINGFENCE_LISTEN", format!("127.0.0.1:{port}"));
            busy
        },
        "",
    );
    assert!(
        text(&busy.stderr).contains("is in use by another program") && text(&busy.stderr).lines().count() == 1,
        "{}",
        text(&busy.stderr)
    );

    let spoken = speak_of_secrets(&Person::nobody().at(&base)).await;

    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    let log = log.join().unwrap().unwrap();
    let answered: Value = log
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .find(|l| l["fields"]["message"] == "answered")
        .expect(&log);
    assert_eq!((&answered["fields"]["status"], &answered["span"]["route"]), (&json!(200), &json!("/readyz")));
    let by: Vec<Value> = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).collect();
    assert!(
        by.iter().any(|l| l["span"]["route"] == "/api/contacts/"
            && l["span"]["user"].is_string()
            && l["span"]["company"].is_string()),
        "{log}"
    );
    for secret in spoken {
        assert!(!log.contains(&secret), "the log has {secret}: {log}");
    }
    own.drop().await;
}

/// A command must not look for a database's files in the folder in which it happens to run.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_given_needs_a_store_that_is_given() {
    let own = OwnDatabase::new().await;
    for arguments in [
        &["serve"][..],
        &["worker"],
        &["files", "sweep"],
        &["files", "adopt"],
        &["archive", "export", "--company", "Acme", "--to", "/nowhere/x.zip"],
        &["archive", "import", "/nowhere/x.zip"],
        &["erase", "company", "Acme", "--yes"],
        &["import", "--from", &own.admin],
    ] {
        let mut command = configured(&own, arguments);
        command.env("RINGFENCE_DEVELOPMENT", "false").env_remove("RINGFENCE_STORAGE_URL");
        let refused = text(&run(command, "").stderr);
        assert!(refused.contains("RINGFENCE_STORAGE_URL is not set"), "{arguments:?}: {refused}");
    }
    own.drop().await;
}

/// Each setting is a flag of every command, and shown in the help of the commands that serve.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_flags_before_a_command_and_behind_it() {
    let own = OwnDatabase::new().await;
    let help = |arguments: &[&str]| text(&run(ringfence(&own, &[arguments, &["--help"]].concat()), "").stdout);
    for command in ["serve", "worker"] {
        assert!(help(&[command]).contains("--listen"), "{command}");
    }
    for command in [&["erase", "person"][..], &["doctor"], &["files", "sweep"]] {
        assert!(!help(command).contains("--listen"), "{command:?}");
    }
    let store = store_of(&own.api);
    for arguments in
        [["files", "adopt", "--yes", "--storage-url", &store], ["--storage-url", &store, "files", "adopt", "--yes"]]
    {
        let mut command = ringfence(&own, &arguments);
        command.env_remove("RINGFENCE_STORAGE_URL");
        let done = run(command, "");
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let mut server = configured(&own, &["serve", "--listen", "127.0.0.1:0"]);
    let (mut child, base) = serve(server.env("RINGFENCE_LISTEN", "127.0.0.1:1"));
    assert!(base.starts_with("http://127.0.0.1:"), "{base}");
    child.kill().unwrap();
    own.drop().await;
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    let refusal = |change: &dyn Fn(&mut Config)| {
        let mut settings = config();
        change(&mut settings);
        settings.resolve(None).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refusal(&|_| ()), "");
    assert_eq!(refusal(&|settings| settings.frontend_url = "https://crm.example/app/#".into()), "");
    for wrong in [
        "",
        "crm.example",
        "crm.example:8000",
        "localhost:8000",
        "ftp://crm.example",
        "https://",
        "https://crm .example",
    ] {
        let said = refusal(&|settings| settings.public_url = wrong.into());
        assert!(
            said.starts_with("RINGFENCE_PUBLIC_URL: ") && said.contains("https://crm.example.com"),
            "{wrong}: {said}"
        );
    }
    for (name, said) in [
        ("RINGFENCE_FRONTEND_URL", refusal(&|settings| settings.frontend_url = "xx".into())),
        ("RINGFENCE_TWILIO_URL", refusal(&|settings| settings.twilio_url = "foo".into())),
        ("RINGFENCE_SENDGRID_URL", refusal(&|settings| settings.sendgrid_url = "foo".into())),
    ] {
        assert!(said.starts_with(name), "{name}: {said}");
    }
}

/// Nor is a part of the password mistaken for the host, and printed.
#[tokio::test]
async fn a_password_that_breaks_its_address_is_not_told() {
    for url in ["postgres://ringfence_api:p@ss#w@127.0.0.1:1/crm", "postgres://ringfence_api:pass#w@127.0.0.1:1/crm"] {
        let refused = format!("{:#}", ringfence::db::connect(url).await.unwrap_err());
        assert!(refused.contains("percent-encoded") && !refused.contains("ss#w"), "{refused}");
    }
}

#[test]
fn origins_are_written_as_browsers_do_or_refused() {
    let settled = |origins: &[&str]| {
        let mut settings = Config { cors_origins: origins.iter().map(|&o| o.to_owned()).collect(), ..config() };
        settings.resolve(None).map(|()| settings.cors_origins).map_err(|e| e.to_string())
    };
    let given = ["https://CRM.example/", " http://localhost:5173", "", "https://crm.example:443", "https://[::1]:8443"];
    let known = ["https://crm.example", "http://localhost:5173", "https://crm.example", "https://[::1]:8443"];
    assert_eq!(settled(&given).unwrap(), known);
    assert_eq!(settled(&["capacitor://localhost"]).unwrap(), ["capacitor://localhost"]);
    for wrong in [
        "*",
        "null",
        "crm.example",
        "https://*",
        "https://crm.example/app",
        "https://a@crm.example",
        "https://crm.example/?",
    ] {
        let said = settled(&["https://crm.example", wrong]).unwrap_err();
        assert!(said.starts_with(&format!("RINGFENCE_CORS_ORIGINS: {wrong:?} ")), "{said}");
    }
}

/// Makes requests of every kind; returns the texts that no log may contain.
async fn speak_of_secrets(nobody: &Person) -> Vec<String> {
    let (email, password) = ("ann.person@secret.example", "Spoken-Horse-1");
    let company = json!({"company_name": "Secretive", "admin_email": email, "admin_password": password, "admin_first_name": "Anneliese", "admin_last_name": "B"});
    let token =
        nobody.post("/api/register/company", company).await.expect(200)["access_token"].as_str().unwrap().to_owned();
    let ann = nobody.with_token(&token);
    let contact = json!({"first_name": "Clementine", "last_name": "C", "email": "clementine@contact.example", "phone": "+15557654321"});
    ann.post("/api/contacts/", contact.clone()).await.expect(200);
    ann.post("/api/contacts/", contact).await.expect(400);
    ann.post(
        "/api/contacts/",
        json!({"first_name": "Clementine\u{0}", "last_name": "C", "email": "clementine2@contact.example"}),
    )
    .await
    .expect(422);
    ann.get("/api/contacts/?search=Clementine&owner_id=clementine@contact.example").await.expect(422);
    nobody.get(&format!("/api/register/check-email/{email}")).await.expect(200);
    nobody.post("/api/auth/login", json!({"email": email, "password": "Wrong-Horse-2"})).await.expect(401);
    nobody.post("/api/auth/forgot-password", json!({"email": email})).await.expect(200);
    nobody.get("/api/invitations/verify/a-token-of-an-invitation").await.expect(400);
    [
        email,
        password,
        "Wrong-Horse-2",
        "Anneliese",
        "lementine",
        "7654321",
        "a-token-of",
        token.split('.').nth(1).unwrap(),
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_is_archived_erased_and_brought_back() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    admin.batch_execute("insert into companies (name) values ('Acme'); select app.add_user('ann@acme.example', 'x', 'A', 'B', 'company_admin', id, 'active') from companies").await.unwrap();
    let file = std::env::temp_dir().join(format!("{}.zip", own.name));
    let path = file.to_str().unwrap();
    let ringfence = |arguments: &[&str]| {
        let mut command = ringfence(&own, arguments);
        command.env("RINGFENCE_SECRET_KEY", "0a".repeat(32)).env("RINGFENCE_DATA", env!("CARGO_TARGET_TMPDIR"));
        run(command, "")
    };
    let (done, said) = (|o: &Output| o.status.success(), |o: &Output| text(&o.stdout) + &text(&o.stderr));
    let exported = ringfence(&["archive", "export", "--company", "Acme", "--to", path]);
    assert!(done(&exported) && said(&exported).contains("Acme ("), "{}", said(&exported));
    let asked = ringfence(&["erase", "company", "Acme"]);
    assert!(!done(&asked) && said(&asked).contains("--yes"), "{}", said(&asked));
    let counted = ringfence(&["erase", "company", "Acme", "--dry-run"]);
    assert!(done(&counted) && said(&counted).contains("Would be erased, of "), "{}", said(&counted));
    let count = "select (select count(*) from companies) + (select count(*) from users) + (select count(*) from pipeline_stages)";
    assert_eq!(admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 8);
    let erased = ringfence(&["erase", "company", "Acme", "--yes"]);
    assert!(done(&erased), "{}", said(&erased));
    assert_eq!(admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
    let back = ringfence(&["archive", "import", path]);
    assert!(done(&back) && said(&back).contains("suspended"), "{}", said(&back));
    assert_eq!(admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 8);
    let away = ringfence(&["import", "--from", "postgres://nobody@127.0.0.1:1/crm"]);
    assert!(!done(&away) && said(&away).contains("--from: the old database cannot be reached"), "{}", said(&away));
    let nowhere = ringfence(&["import", "--from", &own.admin, "--files", "/nowhere"]);
    assert!(!done(&nowhere) && said(&nowhere).contains("--files: there is no folder /nowhere"), "{}", said(&nowhere));
    let elsewhere = ringfence(&["import", "--from", &own.admin]);
    assert!(!done(&elsewhere) && said(&elsewhere).contains("Ringfence itself"), "{}", said(&elsewhere));
    std::fs::remove_file(file).unwrap();
    drop(admin);
    own.drop().await;
}

/// A person at a terminal sees progress; nothing is drawn into a file or pipe.
#[tokio::test(flavor = "multi_thread")]
async fn long_commands_tell_how_far_they_are() {
    let own = OwnDatabase::new().await;
    let acme = World::within(&own.admin, "Acme").await;
    let add = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
        select $1, $1, $2, 'C', 'C', n || '@client.example' from generate_series(1, 2500) n";
    acme.db.execute(add, &[&acme.company, &acme.admin.id]).await.unwrap();
    let path = |name: &str| format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), own.name);
    let (zip, folder) = (path("progress.zip"), path("progress"));
    let copy = OwnDatabase::empty().await;
    // Stages that follow each other quickly are not all drawn, so only the first of each line is expected.
    let commands = [
        (&own, &["archive", "export", "--company", &acme.name, "--to", &zip][..], &["reading", "companies", "/s"][..]),
        (&own, &["backup", &folder], &["tables counted: ", "B/s"]),
        (&copy, &["restore", &folder], &["restoring", "migrating", "examining"]),
        (&own, &["erase", "person", "1@client.example", "--yes"], &["erasing", "left"]),
        (&own, &["erase", "company", &acme.name, "--yes"], &["erasing", "activities", "left"]),
        (&own, &["archive", "import", &zip], &["verifying", "adding", "companies", "left"]),
    ];
    for (database, arguments, parts) in commands {
        let drawn = at_terminal(configured(database, arguments));
        for part in parts {
            assert!(drawn.contains(part), "{arguments:?} does not show {part:?}: {drawn:?}");
        }
    }
    let quiet = run(configured(&own, &["erase", "company", &acme.name, "--yes"]), "");
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    std::fs::remove_file(zip).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    drop(acme);
    copy.drop().await;
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasure_and_archives_need_no_key_of_secrets() {
    let own = OwnDatabase::new().await;
    for (arguments, said) in [
        (["erase", "person", "nobody@example.com", "--yes"].as_slice(), "nobody has this address"),
        (&["archive", "export", "--company", "None", "--to", "/nowhere/x.zip"], "there is no company named"),
    ] {
        let output = run(ringfence(&own, arguments), "");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
    own.drop().await;
}

#[test]
fn help_and_the_document_need_no_database() {
    for arguments in [
        vec!["--help"],
        vec!["demo", "--help"],
        vec!["user", "assign", "--help"],
        vec!["import", "--help"],
        vec!["archive", "import", "--help"],
        vec!["erase", "person", "--help"],
        vec!["openapi"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence")).args(&arguments).env_clear().output().unwrap();
        assert!(output.status.success() && output.stdout.len() > 200, "{arguments:?}: {}", text(&output.stderr));
    }
    let wrong = Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("srve").output().unwrap();
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("serve"), "{}", text(&wrong.stderr));
}

/// Clients that open connections and send nothing do not keep others out for long: the server takes as many as the
/// system allows, and where it allows few, it closes the excess soon.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_out() {
    let own = OwnDatabase::new().await;
    for (limit, is_told) in [("ulimit -Sn 64", false), ("ulimit -n 96", true)] {
        let program = configured(&own, &[]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{limit}; exec {}", env!("CARGO_BIN_EXE_ringfence")));
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let log = std::env::temp_dir().join(format!("{}.log", Uuid::new_v4()));
        command.env("RUST_LOG", "warn").stderr(File::create(&log).unwrap());
        let (mut server, base) = serve(&mut command);
        let address = base.trim_start_matches("http://");
        let idle: Vec<_> = (0..150).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let start = Instant::now();
        Person::visitor(&base).get("/livez").await;
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(said.matches("no connection can be taken").count(), usize::from(is_told), "{said}");
        drop(idle);
        server.kill().unwrap();
        server.wait().unwrap();
        std::fs::remove_file(log).unwrap();
    }
    own.drop().await;
}
