//! Exports a company to a file, and imports it again.

use crate::support::{
    archive::{AS_IT_WAS, file, rows},
    command::{configured, ringfence, run, text},
    database::OwnDatabase,
    seed::Seeded,
    server::store_of,
    world::World,
};
use ringfence::{
    clients::storage::Storage,
    commands::{
        archive::{self, Options},
        erase::{self, Erase},
    },
    db,
};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    path::Path,
    process::Command,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const SUSPENDED: Options = Options { active: false, keep_due: false };

/// Adds content in the store to a file of the company.
async fn with_content(seeded: &Seeded, storage: &Storage) -> Uuid {
    let world = &seeded.world;
    let id: Uuid = world.value("select id from files where tenant_id = $1 limit 1", &[&world.company]).await;
    let key = format!("{}/{id}", world.company);
    let mut writing = storage.write(&key, &TaskTracker::new()).await.unwrap();
    writing.put(b"the content").await.unwrap();
    writing.finish().await.unwrap();
    writing.keep();
    world.db.execute("update files set object_key = $2 where id = $1", &[&id, &key]).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_comes_back_byte_for_byte() {
    let (from, to) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let seeded = Seeded::within(&from.admin).await;
    let (world, company) = (&seeded.world, seeded.world.company);
    // Another company's rows in the same database, and a user who has left the company.
    let other = Seeded::within(&from.admin).await;
    let leaver = world.person("company_user").await;
    let theirs =
        "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, $1, $2, 'note', 'Stays')";
    world.db.execute(theirs, &[&company, &leaver.id]).await.unwrap();
    world.db.execute("select app.assign_company($1, $2)", &[&leaver.id, &other.world.company]).await.unwrap();
    let (here, there) = (from.store(), to.store());
    let content = with_content(&seeded, &here).await;
    let before = rows(&world.db, company).await;

    let path = file();
    let manifest = archive::export(&from.admin, &world.name, &path, &here).await.unwrap();
    assert_eq!(manifest.lack(), None);
    let refused = archive::export(&from.admin, &world.name, &path, &here).await.unwrap_err().to_string();
    assert!(refused.ends_with("exists already: choose a new file"), "{refused}");
    // An export that is killed leaves no archive.
    let cut = file();
    std::fs::write(cut.with_added_extension("partial"), "PK").unwrap();
    let refused = archive::export(&from.admin, &world.name, &cut, &here).await.unwrap_err().to_string();
    assert!(refused.contains(".partial is there") && !cut.exists(), "{refused}");
    std::fs::remove_file(cut.with_added_extension("partial")).unwrap();
    let lacking = archive::export(&from.admin, &world.name, &file(), &there).await.unwrap().lack();
    assert!(lacking.unwrap().contains("in the store: 1;"));
    // The archive has every protected table, and nothing of the other company.
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    let protected = world.db.query("select table_name from app.protected_table", &[]).await.unwrap();
    for table in protected.iter().map(|r| r.get::<_, String>(0)) {
        let mut text = String::new();
        zip.by_name(&format!("tables/{table}.ndjson")).unwrap().read_to_string(&mut text).unwrap();
        assert!(!text.is_empty(), "{table}");
        assert_eq!(text.lines().count(), before[&table].len(), "{table}");
        assert!(!text.contains(&other.world.company.to_string()), "{table} has another company's row");
    }
    for entry in 0..zip.len() {
        let mut bytes = Vec::new();
        zip.by_index(entry).unwrap().read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("$argon2") && !text.contains("password_hash"), "a password is in the archive");
    }

    let refused = archive::import(&from.admin, &path, AS_IT_WAS, &here).await.unwrap_err();
    assert!(refused.to_string().contains("already"), "{refused}");
    archive::import(&to.admin, &path, AS_IT_WAS, &there).await.unwrap_or_else(|e| panic!("{e:?}"));
    let target = db::connect(&to.admin).await.unwrap();
    let after = rows(&target, company).await;
    assert_eq!(before.keys().collect::<BTreeSet<_>>(), after.keys().collect());
    for (table, rows) in &before {
        assert_eq!(rows, &after[table], "{table}");
    }
    let bytes = there.read_all(&format!("{company}/{content}")).await.unwrap().unwrap();
    assert_eq!(bytes, b"the content");
    let stranger: String =
        target.query_one("select first_name from users where id = $1", &[&leaver.id]).await.unwrap().get(0);
    assert_eq!(stranger, "Former", "who left is another company's");
    assert!(archive::import(&to.admin, &path, AS_IT_WAS, &there).await.is_err(), "once is enough");
    drop(target);
    std::fs::remove_file(&path).unwrap();
    drop((seeded, other));
    from.drop().await;
    to.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_historical_rows_takes_an_archive() {
    let (from, to) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let seeded = Seeded::within(&from.admin).await;
    let (world, company) = (&seeded.world, seeded.world.company);
    // Historical rows that duplicate a row of the company cannot get it; this one can.
    let clear = "do $$ declare t record; begin set constraints all deferred; for t in select target from app.protected_table loop
        execute format('delete from %s where company_id is null', t.target); end loop; end $$";
    world.db.batch_execute(clear).await.unwrap();
    let historical = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
        values ($1, null, $2, 'Old', 'One', 'old@example.com') returning id";
    let historical: Uuid = world.value(historical, &[&company, &world.admin.id]).await;
    let path = file();
    archive::export(&from.admin, &world.name, &path, &from.store()).await.unwrap();
    let target = db::connect(&to.admin).await.unwrap();
    target.batch_execute("call app.finish_backfill()").await.unwrap();
    archive::import(&to.admin, &path, AS_IT_WAS, &to.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
    world.db.execute("update contacts set company_id = tenant_id where id = $1", &[&historical]).await.unwrap();
    let (before, after) = (rows(&world.db, company).await, rows(&target, company).await);
    for (table, rows) in before {
        assert_eq!(rows, after[&table], "{table}");
    }
    let sums = "select sum(deals)::bigint = (select count(*) from deals where not is_deleted) from deal_sums";
    assert!(target.query_one(sums, &[]).await.unwrap().get::<_, bool>(0), "each deal counts once");
    drop((target, seeded));
    std::fs::remove_file(path).unwrap();
    from.drop().await;
    to.drop().await;
}

/// When historical rows get their company, two may have the same unique key: each is named, and nothing is imported.
#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_unique_key_is_taken_are_named() {
    let (from, to) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let world = World::within(&from.admin, "Company").await;
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
        values ($1::uuid, case when $3 then $1::uuid end, $2, 'A', 'B', $4) returning id";
    let mut pairs = Vec::new();
    for n in 0..3 {
        let email = format!("same{n}@example.com");
        let own = world.value::<Uuid>(contact, &[&world.company, &world.admin.id, &true, &email]).await;
        pairs.push((own, world.value::<Uuid>(contact, &[&world.company, &world.admin.id, &false, &email]).await));
    }
    let path = file();
    archive::export(&from.admin, &world.name, &path, &from.store()).await.unwrap();
    let target = db::connect(&to.admin).await.unwrap();
    target.batch_execute("call app.finish_backfill()").await.unwrap();
    let refused = archive::import(&to.admin, &path, AS_IT_WAS, &to.store()).await.unwrap_err().to_string();
    // Of two rows with the same key, the second one is named.
    for (own, historical) in pairs {
        let named = [format!("contacts {historical}: it is historical"), format!("contacts {own}: another row has")];
        assert!(named.iter().filter(|line| refused.contains(*line)).count() == 1, "{refused}");
    }
    assert_eq!(refused.matches("(contacts_tenant_email_key)").count(), 3, "{refused}");
    assert_eq!(refused.lines().count(), 4, "{refused}");
    assert!(target.query("select from companies", &[]).await.unwrap().is_empty());
    drop((target, world));
    std::fs::remove_file(path).unwrap();
    from.drop().await;
    to.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_once() {
    let own = OwnDatabase::new().await;
    let world = World::within(&own.admin, "Company").await;
    let many = "insert into activities (tenant_id, company_id, owner_id, type, subject)
        select $1, $1, $2, 'note', md5(n::text) || md5((n + 1)::text) from generate_series(1, 20000) n";
    world.db.execute(many, &[&world.company, &world.admin.id]).await.unwrap();
    let path = file();
    let program = ringfence(&own, &["archive", "export", "--company", &world.name, "--to", path.to_str().unwrap()]);
    // Limits the size of files, which the program sees like a full disk.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]).arg(program.get_program());
    limited.args(program.get_args()).env("DATABASE_URL", &own.api).env("DATABASE_ADMIN_URL", &own.admin);
    limited.env("RINGFENCE_STORAGE_URL", store_of(&own.api));
    let out = run(limited, "");
    let said = text(&out.stderr);
    assert!(!out.status.success(), "{said}");
    assert_eq!(said.matches("too large").count(), 1, "{said}");
    assert!(said.starts_with(&format!("ringfence: cannot write {}: ", path.display())), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!path.exists() && !path.with_added_extension("partial").exists(), "a part of an archive is none");
    drop(world);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_comes_in_suspended_and_a_broken_archive_not_at_all() {
    let (from, to) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let seeded = Seeded::within(&from.admin).await;
    let promote = "update users set user_role = 'super_admin' where id = $1";
    seeded.world.db.execute(promote, &[&seeded.world.admin.id]).await.unwrap();
    let (path, broken) = (file(), file());
    archive::export(&from.admin, &seeded.world.name, &path, &from.store()).await.unwrap();
    copy_with(&path, &broken, "tables/contacts.ndjson", "\n");
    let refused = archive::import(&to.admin, &broken, SUSPENDED, &to.store()).await.unwrap_err();
    assert!(refused.to_string().contains("contacts.ndjson is not what the manifest says"), "{refused}");
    // The manifest says how long an entry is; a line longer than any row can be is not read.
    endless(&path, &broken);
    let refused = archive::import(&to.admin, &broken, SUSPENDED, &to.store()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("has no end, or more than 1 GiB"), "{refused:#}");
    let says_rows = |manifest: &mut Vec<u8>, rows: u64| {
        let mut said: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        said["entries"]["tables/contacts.ndjson"]["rows"] = rows.into();
        *manifest = serde_json::to_vec(&said).unwrap();
    };
    forged(&path, &broken, |name, bytes| {
        if name == "manifest.json" {
            says_rows(bytes, u64::MAX)
        }
    });
    let refused = archive::import(&to.admin, &broken, SUSPENDED, &to.store()).await.unwrap_err();
    assert!(refused.to_string().contains("contacts has not as many rows"), "{refused}");
    let target = db::connect(&to.admin).await.unwrap();
    assert!(target.query("select from companies", &[]).await.unwrap().is_empty());
    let refused = archive::import(&to.admin, Path::new("/dev/null"), SUSPENDED, &to.store()).await.unwrap_err();
    assert!(refused.to_string().starts_with("/dev/null is no archive of a company: give the zip"), "{refused}");

    archive::import(&to.admin, &path, SUSPENDED, &to.store()).await.unwrap();
    let status: String = target.query_one("select status from companies", &[]).await.unwrap().get(0);
    assert_eq!(status, "suspended");
    let roles = target.query("select user_role from users where id = $1", &[&seeded.world.admin.id]).await.unwrap();
    assert_eq!(roles[0].get::<_, String>(0), "company_admin", "no file makes a super admin");
    drop((target, seeded));
    for path in [path, broken] {
        std::fs::remove_file(path).unwrap();
    }
    from.drop().await;
    to.drop().await;
}

/// Two companies have rows of one user, who is in one of them: imported in every order, and after an erasure.
#[tokio::test(flavor = "multi_thread")]
async fn who_moved_comes_back_with_their_company() {
    let own = OwnDatabase::new().await;
    let (was, is) = (World::within(&own.admin, "Bluepeak").await, World::within(&own.admin, "Harbor").await);
    let tom = was.person("company_user").await;
    for (company, statement) in [
        (was.company, "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, $1, $2, 'note', 'Was')"),
        (is.company, "select app.assign_company($2, $1)"),
        (is.company, "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, $1, $2, 'note', 'Is')"),
        (is.company, "insert into notifications (tenant_id, company_id, user_id, title, message) values ($1, $1, $2, 'T', 'M')"),
        (
            is.company,
            "with team as (insert into teams (tenant_id, company_id, user_id, name) values ($1, $1, $2, 'Team') returning id)
             update users set team_id = team.id from team where users.id = $2",
        ),
    ] {
        was.db.execute(statement, &[&company, &tom.id]).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
    }
    let (of_was, of_is) = (rows(&was.db, was.company).await, rows(&was.db, is.company).await);
    let [was_file, is_file] = [file(), file()];
    archive::export(&own.admin, &was.name, &was_file, &own.store()).await.unwrap();
    archive::export(&own.admin, &is.name, &is_file, &own.store()).await.unwrap();

    let options = erase::Options { dry_run: false, yes: true };
    let company = |world: &World| Erase::Company { company: world.name.clone(), options };
    erase::run(&own.admin, &company(&is), &own.store()).await.unwrap();
    archive::import(&own.admin, &is_file, AS_IT_WAS, &own.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(rows(&was.db, is.company).await, of_is);
    assert_eq!(rows(&was.db, was.company).await, of_was);
    let may_come_in = "select exists (select from app.caller where user_id = $1 and company_id = $2)";
    assert!(was.value::<bool>(may_come_in, &[&tom.id, &is.company]).await);

    for files in [[&was_file, &is_file], [&is_file, &was_file]] {
        let to = OwnDatabase::new().await;
        for file in files {
            archive::import(&to.admin, file, AS_IT_WAS, &to.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
        }
        let target = db::connect(&to.admin).await.unwrap();
        assert_eq!(rows(&target, was.company).await, of_was);
        assert_eq!(rows(&target, is.company).await, of_is);
        for world in [&is, &was] {
            erase::run(&to.admin, &company(world), &to.store()).await.unwrap();
        }
        let left = target.query("select email from users", &[]).await.unwrap();
        assert!(left.is_empty(), "who is nobody's any more goes with the last company: {left:?}");
        drop(target);
        to.drop().await;
    }

    for path in [was_file, is_file] {
        std::fs::remove_file(path).unwrap();
    }
    drop((was, is));
    own.drop().await;
}

/// The archive has what was since sent or ended at its source, and what was erased here before the import.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_sent_ended_or_erased_does_not_come_back_in_silence() {
    let (from, to, again) = (OwnDatabase::new().await, OwnDatabase::new().await, OwnDatabase::new().await);
    let (acme, other) = (World::within(&from.admin, "Acme").await, World::within(&to.admin, "Other").await);
    let path = file();
    for world in [&acme, &other] {
        for insert in [
            "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
               select $1, $1, $2, '+14155550100', '+14155550101', b, now() + make_interval(hours => h) from (values ('due', -1), ('later', 1)) t (b, h)",
            "with c as (
               insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, total_recipients, status, scheduled_at)
               values ($1, $1, $2, 'C', 'C', 'C', 1, 'scheduled', now() + interval '1 hour') returning id)
             insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email) select $1, $1, $2, id, 'Ada@gone.example' from c",
            "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, $1, $2, 'Ada', 'Gone', 'Ada@gone.example')",
            "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, $1, $2, 'Bob', 'Stays', 'bob@stays.example')",
        ] {
            world.db.execute(insert, &[&world.company, &world.admin.id]).await.unwrap_or_else(|e| panic!("{insert}: {e:?}"));
        }
        let due = "update jobs set run_at = now() - interval '1 minute' where tenant_id = $1 and kind = 'campaign'";
        assert_eq!(world.db.execute(due, &[&world.company]).await.unwrap(), 1);
    }
    let ada = Erase::Person {
        email: Some("ada@gone.example".into()),
        company: None,
        contact: None,
        options: erase::Options { dry_run: false, yes: true },
    };
    erase::run(&to.admin, &ada, &to.store()).await.unwrap();
    archive::export(&from.admin, &acme.name, &path, &from.store()).await.unwrap();
    let state = "select string_agg(what, ' ' order by what) from (
            select 'text ' || body from scheduled_sms where tenant_id = $1 and not is_sent and not is_cancelled
            union all select 'campaign ' || status from campaigns where tenant_id = $1
            union all select 'recipient ' || state from campaign_recipients where tenant_id = $1
            union all select 'job ' || kind from jobs where tenant_id = $1) l (what)";
    let untouched: String = other.value(state, &[&other.company]).await;
    let version = "select token_version from users where id = $1";
    let before: i32 = acme.value(version, &[&acme.admin.id]).await;

    let came = run(configured(&to, &["archive", "import", path.to_str().unwrap()]), "");
    let said = text(&came.stdout);
    assert!(came.status.success(), "{}", text(&came.stderr));
    assert!(said.contains("1 scheduled texts, 1 campaigns, 0 runs of workflows"), "{said}");
    let erased = format!("`ringfence erase person ADDRESS --company {}`:\n  ada@gone.example\n", acme.company);
    assert!(said.contains(&erased) && !said.contains("bob@stays.example"), "{said}");
    let left: String = other.value(state, &[&acme.company]).await;
    assert_eq!(left, "campaign failed job scheduled_sms recipient failed text later");
    assert_eq!(other.value::<String>(state, &[&other.company]).await, untouched, "of the company that comes in alone");
    assert!(other.value::<i32>(version, &[&acme.admin.id]).await > before + 1000, "a token that was ended stays so");
    let caller = "select token_version from app.caller where user_id = $1";
    assert!(other.value::<i32>(caller, &[&acme.admin.id]).await > before + 1000);

    let imported = archive::import(&again.admin, &path, AS_IT_WAS, &again.store()).await.unwrap();
    assert!(imported.due.is_none() && imported.erased.is_empty(), "{imported:?}");
    let target = db::connect(&again.admin).await.unwrap();
    assert_eq!(rows(&target, acme.company).await, rows(&acme.db, acme.company).await);
    std::fs::remove_file(path).unwrap();
    drop((acme, other, target));
    for database in [from, to, again] {
        database.drop().await;
    }
}

/// A user who has an account here keeps it unchanged, whatever the archive says of them, and sees no imported rows.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_another_companys_stays_it() {
    let own = OwnDatabase::new().await;
    let (was, is) = (World::within(&own.admin, "Bluepeak").await, World::alone(&own).await);
    let (path, forged_path) = (file(), file());
    let (tom, lone) = (is.person("company_user").await, is.person("company_user").await);
    for user in [&tom, &lone, &is.member] {
        for insert in [
            "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, $1, $2, 'note', 'New')",
            "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, null, $2, 'note', 'Old')",
            "insert into files (tenant_id, company_id, owner_id, name, original_name, size) values ($1, null, $2, 'f', 'f', 5)",
            "insert into notifications (tenant_id, company_id, user_id, title, message) values ($1, $1, $2, 'T', 'M')",
        ] {
            is.db.execute(insert, &[&is.company, &user.id]).await.unwrap();
        }
    }
    archive::export(&own.admin, &is.name, &path, &own.store()).await.unwrap();
    is.db.execute("select app.assign_company($1, $2)", &[&tom.id, &was.company]).await.unwrap();
    is.db.execute("update users set company_id = null where id = $1", &[&lone.id]).await.unwrap();
    let erase_it = async || {
        let options = erase::Options { dry_run: false, yes: true };
        let company = Erase::Company { company: is.name.clone(), options };
        erase::run(&own.admin, &company, &own.store()).await.unwrap();
    };
    erase_it().await;
    let accounts = async || {
        let rows = "select concat_ws(' ', u, c, k) from users u left join app.caller c on c.user_id = u.id
            left join app.credentials k on k.user_id = u.id where u.id = any ($1) order by u.id";
        let accounts = is.db.query(rows, &[&vec![tom.id, lone.id, was.admin.id]]).await.unwrap();
        accounts.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    let (theirs, of_was) = (accounts().await, rows(&is.db, was.company).await);

    // The forged archive has the other company's admin in place of the member: this gains its author no account.
    forged(&path, &forged_path, |name, bytes| {
        let text = String::from_utf8(std::mem::take(bytes))
            .unwrap()
            .replace(&is.member.id.to_string(), &was.admin.id.to_string());
        *bytes = if name.starts_with("tables/") {
            text.replace(&tom.email, "evil@example.com").into_bytes()
        } else {
            text.into_bytes()
        };
    });
    for (file, elsewhere) in [(&path, vec![&tom, &lone]), (&forged_path, vec![&tom, &lone, &was.admin])] {
        let imported =
            archive::import(&own.admin, file, AS_IT_WAS, &own.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
        let told = imported.elsewhere;
        assert_eq!(told.len(), elsewhere.len(), "{told:?}");
        for user in &elsewhere {
            assert!(told.iter().any(|line| line.starts_with(&user.email)), "{told:?}");
        }
        // A different address is reported, because the id may be another person's.
        let other =
            format!("{} of {}, in the archive \"evil@example.com\": is it the same person?", tom.email, was.name);
        assert_eq!(told.contains(&other), file == &forged_path, "{told:?}");
        assert_eq!(accounts().await, theirs);
        assert_eq!(rows(&is.db, was.company).await, of_was);
        assert_eq!(is.value::<i64>("select count(*) from users where email = 'evil@example.com'", &[]).await, 0);
        // Rows that they made are the company's now, and those of its own users are unchanged.
        let made = "select count(*) filter (where company_id is null) from activities where tenant_id = $1 and owner_id = any ($2)";
        let of: Vec<Uuid> = elsewhere.iter().map(|user| user.id).collect();
        assert_eq!(is.value::<i64>(made, &[&is.company, &of]).await, 0);
        let stays = 3 - elsewhere.len();
        assert_eq!(is.value::<i64>(made, &[&is.company, &vec![is.member.id]]).await, i64::try_from(stays).unwrap());
        let used = "select storage_bytes from companies where id = $1";
        assert_eq!(is.value::<i64>(used, &[&is.company]).await, 5 * i64::try_from(elsewhere.len()).unwrap());
        let notes = "select count(*) from notifications where tenant_id = $1 and user_id = any ($2)";
        assert_eq!(is.value::<i64>(notes, &[&is.company, &of]).await, 0);
        // Neither sees the other's rows. Tokens of the imported users have ended.
        assert_eq!(is.admin.get("/api/activities/").await.status, 401);
        let again = "update users set token_version = 1 where id = $1";
        is.db.execute(again, &[&is.admin.id]).await.unwrap();
        for user in &elsewhere {
            let user = if user.id == tom.id { is.admin.with_token(tom.token.as_deref().unwrap()) } else { continue };
            assert_eq!(user.get("/api/activities/").await.expect(200).as_array().map(Vec::len), Some(0));
        }
        let listed = is.admin.get("/api/activities/").await.expect(200).to_string();
        assert_eq!(listed.matches("\"Old\"").count(), elsewhere.len(), "{listed}");
        let colleagues = is.admin.get("/api/users/").await.expect(200).to_string();
        assert!(colleagues.contains(&is.admin.email));
        for user in elsewhere {
            assert!(!colleagues.contains(&user.email), "{colleagues}");
        }
        erase_it().await;
        assert_eq!(accounts().await, theirs);
    }

    // The tenant of a user without company is their own id, which no company in an archive may have.
    forged(&path, &forged_path, |_, bytes| {
        *bytes = String::from_utf8(std::mem::take(bytes))
            .unwrap()
            .replace(&is.company.to_string(), &lone.id.to_string())
            .into_bytes();
    });
    let refused = archive::import(&own.admin, &forged_path, AS_IT_WAS, &own.store()).await.unwrap_err().to_string();
    assert!(refused.contains("a user has its id"), "{refused}");

    let lock = "select pg_advisory_lock(hashtextextended('archive of ' || $1::uuid, 0))";
    was.db.execute(lock, &[&is.company]).await.unwrap();
    let refused = archive::import(&own.admin, &path, AS_IT_WAS, &own.store()).await.unwrap_err().to_string();
    assert_eq!(refused, "an import of this company is going on already: wait for its end");
    for path in [path, forged_path] {
        std::fs::remove_file(path).unwrap();
    }
    drop((was, is));
    own.drop().await;
}

/// Copies a zip, with more at the end of one entry.
fn copy_with(from: &Path, to: &Path, changed: &str, more: &str) {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(from).unwrap()).unwrap();
    let mut out = zip::ZipWriter::new(std::fs::File::create(to).unwrap());
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        out.start_file(&name, zip::write::SimpleFileOptions::default()).unwrap();
        out.write_all(&bytes).unwrap();
        if name == changed {
            out.write_all(more.as_bytes()).unwrap();
        }
    }
    out.finish().unwrap();
}

/// Copies a zip, with an endless line of contacts that its manifest confirms.
fn endless(from: &Path, to: &Path) {
    forged(from, to, |name, bytes| {
        if name == "tables/contacts.ndjson" {
            *bytes = vec![b'['; 65 << 20];
        } else if name == "manifest.json" {
            let mut manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            manifest["entries"]["tables/contacts.ndjson"]["rows"] = 1.into();
            *bytes = serde_json::to_vec(&manifest).unwrap();
        }
    });
}

/// Copies a zip with changed entries, whose lengths and checksums its manifest confirms.
fn forged(from: &Path, to: &Path, change: impl Fn(&str, &mut Vec<u8>)) {
    use sha2::{Digest, Sha256};
    let mut zip = zip::ZipArchive::new(std::fs::File::open(from).unwrap()).unwrap();
    let mut out = zip::ZipWriter::new(std::fs::File::create(to).unwrap());
    let mut sums = Vec::new();
    // The manifest is the last entry.
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        change(&name, &mut bytes);
        if name == "manifest.json" {
            let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            for (name, length, sha256) in std::mem::take(&mut sums) {
                let entry: &mut serde_json::Value = &mut manifest["entries"][name];
                (entry["bytes"], entry["sha256"]) = (serde_json::json!(length), serde_json::Value::String(sha256));
            }
            bytes = serde_json::to_vec(&manifest).unwrap();
        } else {
            let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            sums.push((name.clone(), bytes.len(), sha256));
        }
        out.start_file(&name, zip::write::SimpleFileOptions::default()).unwrap();
        out.write_all(&bytes).unwrap();
    }
    out.finish().unwrap();
}

/// Import accepts whatever export writes: a mail full of quotation marks is twice as long in JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_very_long_row_comes_back() {
    const LENGTH: i32 = 40_000_000;
    let (from, to) = (OwnDatabase::new().await, OwnDatabase::new().await);
    let acme = World::within(&from.admin, "Acme").await;
    let mail = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
        select $1, $1, $2, 'inbound', 'received', 'a@example.com', 'b@example.com', 'Long', repeat('\"', case i when 2 then $3 else 9 end)
        from generate_series(1, 3) i";
    acme.db.execute(mail, &[&acme.company, &acme.admin.id, &LENGTH]).await.unwrap();
    let path = file();
    archive::export(&from.admin, &acme.name, &path, &from.store()).await.unwrap();
    archive::import(&to.admin, &path, AS_IT_WAS, &to.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
    let there = db::connect(&to.admin).await.unwrap();
    let bodies = "select count(*), max(length(body)), max(body) = repeat('\"', $1) from emails";
    let bodies = there.query_one(bodies, &[&LENGTH]).await.unwrap();
    assert_eq!((bodies.get::<_, i64>(0), bodies.get::<_, i32>(1), bodies.get::<_, bool>(2)), (3, LENGTH, true));
    std::fs::remove_file(&path).unwrap();
    drop((acme, there));
    from.drop().await;
    to.drop().await;
}
