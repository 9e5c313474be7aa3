//! Imports the database of the old backend: all rows, each in its company, and nothing that would be sent.

use crate::support::{
    command::{configured, run, text},
    database::{OwnDatabase, enter, until, waiting_for_locks},
    old_database::{COMPANIES, Old, PASSWORD, add_file, bring, import_into, miscounted, try_to_bring},
    server::{config, start_server},
    world::Person,
};
use ringfence::{
    commands::{
        erase::{self, Erase},
        import::{Options, Outcomes},
    },
    db,
    seal::Sealer,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Client;
use uuid::Uuid;

/// Old tables with a company, their tables here, and the column with the user here.
const TABLES: &[(&str, &str, &str)] = &[
    ("contacts", "contacts", "owner_id"),
    ("deals", "deals", "owner_id"),
    ("activities", "activities", "owner_id"),
    ("quotes", "quotes", "owner_id"),
    ("folders", "folders", "owner_id"),
    ("files", "files", "owner_id"),
    ("sms_messages", "sms_messages", "user_id"),
    ("scheduled_sms", "scheduled_sms", "user_id"),
    ("calls", "calls", "user_id"),
    ("workflows", "workflows", "owner_id"),
    ("emails", "emails", "owner_id"),
    ("sms_templates", "sms_templates", "user_id"),
    ("phone_numbers", "phone_numbers", "user_id"),
    ("twilio_settings", "twilio_settings", "user_id"),
];

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_what_the_old_rules_showed() {
    let (old, own) = (Old::new(3).await, OwnDatabase::new().await);
    let outcomes = bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let left_out: BTreeSet<(String, Uuid)> = old
        .report()
        .into_iter()
        .filter(|[_, _, action, _]| action == "left out")
        .map(|[table, id, _, _]| (table, id.parse().unwrap()))
        .collect();

    // No row is lost silently: each old row is here or in the report.
    for (table, outcome) in &outcomes.tables {
        assert_eq!(outcome.old, outcome.now + outcome.left_out, "{table}");
        assert!(outcome.now > 0, "{table}");
        if *table == "opt-outs" {
            continue;
        }
        let reported = left_out.iter().filter(|(t, _)| t == table).count();
        assert!(reported as u64 <= outcome.left_out, "{table}");
        let here: BTreeSet<Uuid> = {
            let name = TABLES.iter().find(|(t, _, _)| t == table).map_or(*table, |(_, new, _)| *new);
            let name = match name {
                "user_conversations" => "conversations",
                "bulk_email_campaigns" => "campaigns",
                "bulk_email_analytics" => "campaign_recipients",
                name => name,
            };
            new.query(&format!("select id from {name}"), &[]).await.unwrap().iter().map(|r| r.get(0)).collect()
        };
        for id in old.ids(&format!("select id from {table}"), &[]).await {
            assert!(
                here.contains(&id) != left_out.contains(&((*table).to_owned(), id)),
                "{table} {id} is neither here nor reported, or both"
            );
        }
    }
    let wanted: Vec<&str> = TABLES.iter().map(|(t, _, _)| *t).collect();
    assert!(wanted.iter().all(|t| outcomes.tables.iter().any(|(name, _)| name == t)));
    assert_eq!(outcomes.no_place.get("audit_logs"), Some(&3));
    assert!(outcomes.missing.is_empty(), "{:?}", outcomes.missing);

    // The old rules in a simple form: a user sees the rows of their company, and their own rows without one. A user
    // without company is their own tenant, where their rows wait for a company.
    let mut api = db::connect(&own.api).await.unwrap();
    let people = new.query("select id, company_id from users where not is_deleted", &[]);
    let (mut compared, mut historical, mut of_no_company) = (0, 0, 0);
    for person in people.await.unwrap() {
        let (user, company): (Uuid, Option<Uuid>) = (person.get(0), person.get(1));
        let tx = api.transaction().await.unwrap();
        tx.batch_execute(&enter(company.unwrap_or(user), user)).await.unwrap();
        for (table, name, owner) in TABLES {
            let rule = format!("company_id = $1 or (company_id is null and {owner} = $2)");
            let shown = old.ids(&format!("select id from {table} where {rule}"), &[&company, &user]).await;
            let shown: BTreeSet<Uuid> =
                shown.into_iter().filter(|id| !left_out.contains(&((*table).to_owned(), *id))).collect();
            let seen = tx.query(&format!("select id from {name}"), &[]).await.unwrap();
            let seen: BTreeSet<Uuid> = seen.iter().map(|r| r.get(0)).collect();
            assert_eq!(seen, shown, "{table} as {user} sees it");
            compared += seen.len();
            of_no_company += if company.is_none() && *table == "deals" { seen.len() } else { 0 };
            let own = format!("select id from {table} where company_id is null and {owner} = $1");
            historical += old.ids(&own, &[&user]).await.len();
        }
        tx.rollback().await.unwrap();
    }
    assert!(compared > 10_000 && historical > 30, "{compared} rows compared, {historical} of them historical");
    assert!(of_no_company > 3, "{of_no_company} deals of users without company");

    // Rows refer only to rows of their own company, whatever the old rows referred to.
    let across: i64 = new.query_one(include_str!("across_companies.sql"), &[]).await.unwrap().get(0);
    assert_eq!(across, 0);
    let detached: BTreeMap<String, usize> = old
        .report()
        .into_iter()
        .filter(|[_, _, action, _]| action == "detached")
        .fold(BTreeMap::new(), |mut n, [t, ..]| {
            *n.entry(t).or_default() += 1;
            n
        });
    for table in
        ["users", "deals", "contacts", "activities", "quotes", "folders", "files", "sms_messages", "notifications"]
    {
        assert!(detached.contains_key(table), "nothing was detached in {table}: {detached:?}");
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_log_in_with_the_old_password_and_nobody_gains_rights() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let base = start_server(ringfence::config::Config { worker: ringfence::config::Switch::Off, ..config() }, &own.api);
    let nobody = Person::nobody().at(&base);
    let login = async |email: &str| nobody.post("/api/auth/login", json!({"email": email, "password": PASSWORD})).await;
    let who = login("User2@old.example").await.expect(200);
    let person = nobody.with_token(who["access_token"].as_str().unwrap());
    let me = person.get("/api/users/me").await.expect(200);
    assert_eq!((&me["first_name"], &me["email"]), (&json!("First2"), &json!("user2@old.example")));
    let ids = |list: Value| -> BTreeSet<Uuid> {
        list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
    };
    let company: Uuid = me["company_id"].as_str().unwrap().parse().unwrap();
    let user: Uuid = me["id"].as_str().unwrap().parse().unwrap();
    let left_out: BTreeSet<Uuid> =
        old.report().iter().filter(|l| l[2] == "left out").map(|l| l[1].parse().unwrap()).collect();
    for (path, table) in [("/api/contacts/?limit=1000", "contacts"), ("/api/deals/", "deals")] {
        let rule = format!(
            "select id from {table} where not is_deleted and (company_id = $1 or company_id is null and owner_id = $2)"
        );
        let wanted = old.ids(&rule, &[&company, &user]).await;
        let wanted: BTreeSet<Uuid> = wanted.difference(&left_out).copied().collect();
        let seen = ids(person.get(path).await.expect(200));
        assert!(!seen.is_empty());
        assert_eq!(seen, wanted, "{path}");
    }
    assert_eq!(login("user16@old.example").await.status, 401, "the hash was no bcrypt");
    // Suspended, deleted and closed accounts cannot log in.
    assert_ne!(login("user11@old.example").await.status, 200);
    assert_ne!(login("user6@old.example").await.status, 200);

    let roles = new.query("select user_role, count(*) from users group by 1 order by 1", &[]).await.unwrap();
    let roles: Vec<String> = roles.iter().map(|r| r.get(0)).collect();
    assert_eq!(roles, ["Regular User", "Super Admin", "company_admin", "company_user"], "no super_admin");
    assert_eq!(old.report().iter().filter(|l| l[3].contains("was super_admin")).count(), 2);
    // Two companies with one name or domain are both imported; of two accounts with one address, one can log in.
    let companies = new.query_one(
        "select count(*), count(domain), count(*) filter (where name like 'Company 6%') from companies",
        &[],
    );
    let companies = companies.await.unwrap();
    let companies: [i64; 3] = std::array::from_fn(|i| companies.get(i));
    assert_eq!(companies, [COMPANIES as i64, COMPANIES as i64 - 1, 2]);
    let accounts =
        "select count(*) filter (where not is_deleted), count(*) from users where email = 'user14@old.example'";
    let accounts = new.query_one(accounts, &[]).await.unwrap();
    assert_eq!((accounts.get::<_, i64>(0), accounts.get::<_, i64>(1)), (1, 2));
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// A worker that runs meanwhile sends what becomes due.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_before_the_texts_that_need_them() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let (holder, watch) = (db::connect(&own.admin).await.unwrap(), db::connect(&own.admin).await.unwrap());
    holder.batch_execute("begin; lock table scheduled_sms in share mode").await.unwrap();
    let options = old.options();
    let looked_at = async {
        until("the import waits for the texts", async || waiting_for_locks(&watch).await > 0).await;
        let without = "select count(*) from twilio_settings t
            where not exists (select from app.company_secrets s where s.company_id = t.company_id)";
        assert_eq!(watch.query_one(without, &[]).await.unwrap().get::<_, i64>(0), 0);
        holder.batch_execute("rollback").await.unwrap();
    };
    tokio::join!(bring(&own, &options), looked_at);
    assert!(watch.query_one("select count(*) from scheduled_sms", &[]).await.unwrap().get::<_, i64>(0) > 0);
    drop((holder, watch));
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_is_not_sent_and_what_comes_is() {
    let (old, own) = (Old::new(2).await, OwnDatabase::new().await);
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let count =
        async |sql: &str| -> i64 { new.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0) };
    assert_eq!(count("select count(*) from workflow_events").await, 0, "an import is no event");
    assert_eq!(count("select count(*) from notifications where created_at > now() - interval '1 day'").await, 0);
    let kinds = new.query("select distinct kind from jobs where failed_at is null order by 1", &[]).await.unwrap();
    assert_eq!(kinds.iter().map(|r| r.get::<_, String>(0)).collect::<Vec<_>>(), ["activity_due", "scheduled_sms"]);
    assert_eq!(count("select count(*) from jobs where run_at < now() + interval '10 days'").await, 0, "nothing is due");
    let jobless = "select count(*) from scheduled_sms s where not is_sent and not is_cancelled
        and not exists (select from jobs j where j.kind = 'scheduled_sms' and j.record_id = s.id and j.run_at = s.scheduled_at)";
    assert_eq!(count(jobless).await, 0);
    assert!(count("select count(*) from scheduled_sms where not is_sent and not is_cancelled").await > 0);
    assert_eq!(
        count("select count(*) from scheduled_sms where not is_sent and not is_cancelled and scheduled_at < now()")
            .await,
        0
    );
    assert!(count("select count(*) from scheduled_sms where error_message = 'It was due before the import'").await > 0);
    assert_eq!(count("select count(*) from sms_messages where status = 'queued' and direction = 'outbound'").await, 0);
    let awake =
        "select count(*) from workflows where status = 'active' and (trigger = 'scheduled' or conditions <> '[]')";
    assert_eq!(count(awake).await, 0);
    assert!(count("select count(*) from workflows where status = 'active'").await > 0);
    assert_eq!(count("select count(*) from workflow_executions where status = 'running'").await, 0);
    assert_eq!(count("select count(*) from campaigns where status in ('scheduled', 'sending')").await, 0);
    assert_eq!(count("select count(*) from emails where status = 'scheduled'").await, 0);
    let told = old
        .report()
        .iter()
        .filter(|l| l[0] == "emails" && l[3] == "was scheduled: draft now, and nothing is sent")
        .count();
    let drafts = old.ids("select id from emails where status = 'SCHEDULED'", &[]).await;
    assert!(!drafts.is_empty() && told == drafts.len(), "{told} of {}", drafts.len());
    assert_eq!(miscounted(&new).await, 0);
    // A company that had pipelines has exactly those.
    assert_eq!(
        count("select count(*) from pipelines where name = 'Sales Pipeline' and company_id is not null").await,
        0
    );
    let defaults = "select count(*) from (select tenant_id from pipelines where is_default and not is_deleted group by 1 having count(*) > 1) x";
    assert_eq!(count(defaults).await, 0);

    // Secrets are sealed for their company, and files have their content.
    let sealer = Sealer::new(&config().secret_key).unwrap();
    let sealed = new
        .query("select company_id, sealed from app.company_secrets where name = 'twilio_auth_token'", &[])
        .await
        .unwrap();
    assert!(sealed.len() >= COMPANIES - 2);
    for row in &sealed {
        let secret = sealer.open(row.get(0), "twilio_auth_token", row.get(1)).unwrap();
        assert!(secret.starts_with("secret token of company "), "{secret}");
    }
    let storage = own.store();
    let files = new
        .query("select name, object_key, size, sha256 from files where object_key is not null order by name", &[])
        .await
        .unwrap();
    assert!(files.len() > 5, "{}", files.len());
    for row in &files {
        let (name, key, size, hash): (String, String, i64, Vec<u8>) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let content = storage.read_all(&key).await.unwrap().unwrap();
        assert_eq!(
            String::from_utf8(content.clone()).unwrap(),
            format!("content {}", name.trim_matches(|c: char| !c.is_ascii_digit()))
        );
        assert_eq!((content.len() as i64, hash.len()), (size, 32));
    }
    assert!(old.report().iter().any(|l| l[0] == "files" && l[3] == "its content is not in the folder"));
    let used: i64 = count("select sum(storage_bytes)::bigint from companies").await;
    assert_eq!(
        used,
        count("select sum(size)::bigint from files where not is_deleted and company_id is not null").await
    );
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// A checksum of every table, including the import's own.
async fn everything(db: &Client) -> BTreeMap<String, String> {
    let tables = "select c.oid::regclass::text from pg_class c where c.relkind = 'r'
        and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace, 'ops'::regnamespace)";
    let mut sums = BTreeMap::new();
    for table in db.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let sum = format!("select coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {table} t");
        sums.insert(table, db.query_one(&sum, &[]).await.unwrap().get(0));
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_a_second_run_brings_what_is_new() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let new = db::connect(&own.admin).await.unwrap();
    let before = everything(&new).await;
    let dry = bring(&own, &Options { dry_run: true, ..old.options() }).await;
    assert_eq!(everything(&new).await, before);
    let first = bring(&own, &old.options()).await;
    assert_eq!(dry.tables, first.tables, "a dry run says what a run does");

    let brought = everything(&new).await;
    let second = bring(&own, &old.options()).await;
    for ((table, a), (_, b)) in first.tables.iter().zip(&second.tables) {
        assert_eq!((b.before, b.now), (a.now, 0), "{table}");
    }
    assert_eq!(everything(&new).await, brought, "a second run changes nothing");

    // One row changed there, and later here; another one deleted here; and a new one there.
    let both: Uuid = new.query_one("select id from contacts order by id desc limit 1", &[]).await.unwrap().get(0);
    let later = "update contacts set title = 'Here', updated_at = now() where id = $1";
    assert_eq!(new.execute(later, &[&both]).await.unwrap(), 1);
    let there = "update contacts set title = 'There', updated_at = '2025-03-01' where id = $1";
    assert_eq!(old.db.execute(there, &[&both]).await.unwrap(), 1);
    let changed: Uuid = new.query_one("select id from contacts order by id limit 1", &[]).await.unwrap().get(0);
    old.db
        .execute("update contacts set first_name = 'Else', updated_at = '2030-01-01' where id = $1", &[&changed])
        .await
        .unwrap();
    let deleted: Uuid = new
        .query_one("delete from calls where id = (select min(id::text)::uuid from calls) returning id", &[])
        .await
        .unwrap()
        .get(0);
    let add = "insert into contacts (id, first_name, last_name, email, status, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
        select gen_random_uuid(), 'Brand', 'New', 'new@old.example', 'NEW', u.id, u.company_id, now(), now(), true, false from users u where u.email ilike 'user2@old.example' returning id";
    let added: Uuid = old.db.query_one(add, &[]).await.unwrap().get(0);
    // In an existing conversation, and in a new one.
    let texts = "insert into sms_messages (id, direction, status, from_address, to_address, body, user_id, company_id, created_at, updated_at, is_active, is_deleted)
        select gen_random_uuid(), 'INBOUND', 'RECEIVED', n.customer, '+18880000001', 'New', u.id, u.company_id, now(), now(), true, false
        from users u, (select '+18880000001' union all select '+17770000001') n (customer) where u.email ilike 'user2@old.example'";
    old.db.execute(texts, &[]).await.unwrap();
    let third = bring(&own, &old.options()).await;
    let contacts = third.tables.iter().find(|(t, _)| *t == "contacts").unwrap().1;
    assert_eq!(contacts.now, 1);
    assert_eq!(third.tables.iter().find(|(t, _)| *t == "sms_messages").unwrap().1.now, 2);
    assert_eq!(miscounted(&new).await, 0);
    assert_eq!(new.query("select from contacts where id = $1", &[&added]).await.unwrap().len(), 1);
    assert_eq!(
        new.query("select from contacts where id = $1 and first_name = 'Else'", &[&changed]).await.unwrap().len(),
        0
    );
    assert_eq!(new.query("select from calls where id = $1", &[&deleted]).await.unwrap().len(), 0);
    let kept: BTreeSet<Uuid> = old.report().iter().filter(|l| l[2] == "kept").map(|l| l[1].parse().unwrap()).collect();
    assert_eq!(kept, BTreeSet::from([both, changed]));

    let itself = Options { from: own.admin.clone(), ..old.options() };
    let refused = try_to_bring(&own, &itself).await.unwrap_err();
    assert!(refused.to_string().contains("Ringfence itself"), "{refused}");
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_somebody_has_made_something_of_stays_when_another_one_comes() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    // One company has a pipeline with the name of the default one here, two have none.
    let less = "delete from deals; update pipelines set name = 'Sales Pipeline' where id = md5('pipeline5')::uuid;
        delete from pipelines where id in (md5('pipeline6')::uuid)
          or company_id in (md5('company5')::uuid, md5('company6')::uuid)";
    old.db.batch_execute(less).await.unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let stage = "insert into pipeline_stages (tenant_id, company_id, owner_id, pipeline_id, name, order_index)
        select tenant_id, company_id, owner_id, id, 'Our own', 9 from pipelines where company_id = md5('company5')::uuid";
    assert_eq!(new.execute(stage, &[]).await.unwrap(), 1);
    let second = "insert into pipelines (id, name, is_default, order_index, company_id, created_at, updated_at, is_active, is_deleted)
        select gen_random_uuid(), 'Second', true, 0, md5('company' || i)::uuid, now(), now(), true, false from unnest(array[3, 5, 6]) i";
    old.db.execute(second, &[]).await.unwrap();
    bring(&own, &old.options()).await;
    let there = async |company: &str| -> Vec<(String, bool)> {
        let of = "select name, is_default from pipelines where company_id = md5($1)::uuid order by name";
        new.query(of, &[&company]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let both = [("Sales Pipeline".to_owned(), true), ("Second".to_owned(), false)];
    assert_eq!(there("company3").await, both, "what came");
    assert_eq!(there("company5").await, both, "what has a stage of theirs");
    assert_eq!(there("company6").await, [("Second".to_owned(), true)], "what nobody has used");
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_an_address_is_told() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let mut odd = BTreeSet::new();
    for (email, was) in
        [("", "user2@old.example"), ("nobody", "user3@old.example"), ("ann@intranet", "user8@old.example")]
    {
        odd.extend(old.ids("update users set email = $1 where email ilike $2 returning id", &[&email, &was]).await);
    }
    assert_eq!(odd.len(), 3);
    let dressed = "update users set email = case id when md5('user4')::uuid then E'\t' || email || E'\u{a0}\n'
        else 'Ann \"B\" Bee <' || email || '> ' end where id in (md5('user4')::uuid, md5('user5')::uuid) returning id";
    let dressed = old.ids(dressed, &[]).await;
    bring(&own, &old.options()).await;
    let report = old.report();
    let bare = report.iter().filter(|l| l[3] == "the address had a name or blanks around it: it is without them");
    assert_eq!(bare.map(|line| line[1].parse().unwrap()).collect::<BTreeSet<Uuid>>(), dressed);
    let base = start_server(ringfence::config::Config { worker: ringfence::config::Switch::Off, ..config() }, &own.api);
    for email in ["user4@old.example", "user5@old.example"] {
        let who = json!({"email": email, "password": PASSWORD});
        Person::nobody().at(&base).post("/api/auth/login", who).await.expect(200);
    }
    let told =
        report.iter().filter(|[_, _, action, reason]| action == "changed" && reason.contains("the address is none"));
    assert_eq!(told.map(|line| line[1].parse().unwrap()).collect::<BTreeSet<Uuid>>(), odd);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_here_does_not_come_back() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let new = db::connect(&own.admin).await.unwrap();
    // The second one is left out at first, because the company has a contact with this address.
    let add = "insert into contacts (id, first_name, last_name, email, status, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
        select gen_random_uuid(), 'Ada', 'Twice', 'Twice@old.example', 'NEW', u.id, u.company_id, now(), now(), true, false
        from users u, generate_series(1, 2) where u.email ilike 'user2@old.example'";
    old.db.execute(add, &[]).await.unwrap();
    bring(&own, &old.options()).await;
    for email in ["twice@old.example", "user2@old.example"] {
        let person = Erase::Person {
            email: Some(email.into()),
            company: None,
            contact: None,
            options: erase::Options { dry_run: false, yes: true },
        };
        let storage = own.store();
        erase::run(&own.admin, &person, &storage).await.unwrap_or_else(|e| panic!("{e:?}"));
    }
    // Another account, a mail to only this address, and one to another address, too.
    let copy = |table: &str, changed: &str, of: &str| {
        format!(
            "insert into {table} select (jsonb_populate_record(t, {changed} || jsonb_build_object('id', gen_random_uuid()))).* from {table} t where {of} limit 1"
        )
    };
    old.db.execute(&copy("users", "'{}'::jsonb", "t.email ilike 'user2@old.example'"), &[]).await.unwrap();
    for to in ["Ada <Twice@old.example>", "twice@old.example, bob@old.example"] {
        let mail =
            format!(r#"'{{"to_email": "{to}", "contact_id": null, "status": "SENT", "subject": "Twice"}}'::jsonb"#);
        let of = "t.owner_id = (select u.id from users u where u.email ilike 'user1@old.example' limit 1) and t.company_id is not null";
        assert_eq!(old.db.execute(&copy("emails", &mail, of), &[]).await.unwrap(), 1);
    }
    let blanks = copy("contacts", r#"'{"email": " Twice@old.example\t"}'::jsonb"#, "t.email = 'Twice@old.example'");
    assert_eq!(old.db.execute(&blanks, &[]).await.unwrap(), 1);
    bring(&own, &old.options()).await;
    let count = async |sql: &str| -> i64 { new.query_one(sql, &[]).await.unwrap().get(0) };
    assert_eq!(count("select count(*) from contacts where email ilike '%twice@old.example%'").await, 0);
    assert_eq!(count("select count(*) from users where email = 'user2@old.example'").await, 0);
    assert_eq!(count("select count(*) from users where first_name = 'Deleted' and is_deleted").await, 2);
    assert_eq!(count("select count(*) from emails where subject = 'Twice'").await, 1, "the other one is bob's as well");
    let told = |table: &str| old.report().iter().filter(|l| l[0] == table && l[3].contains("was erased here")).count();
    assert_eq!((told("contacts"), told("users"), told("emails")), (2, 1, 1));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_backfill_is_finished_rows_without_company_get_their_users() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let new = db::connect(&own.admin).await.unwrap();
    new.batch_execute("call app.finish_backfill()").await.unwrap();
    bring(&own, &old.options()).await;
    let of_company = "select c.id from contacts c join users u on u.id = c.owner_id
        where c.company_id is null and u.company_id is not null and not exists (select from contacts o where lower(o.email) = lower(c.email) and o.id <> c.id)";
    let wanted = old.ids(of_company, &[]).await;
    assert!(!wanted.is_empty());
    let here = "select count(*) from contacts c join users u on u.id = c.owner_id where c.id = any ($1) and c.company_id = u.company_id";
    let ids: Vec<Uuid> = wanted.iter().copied().collect();
    assert_eq!(new.query_one(here, &[&ids]).await.unwrap().get::<_, i64>(0), ids.len() as i64);
    let report = old.report();
    for id in &wanted {
        assert!(report.iter().any(|[_, row, action, _]| *row == id.to_string() && action == "changed"), "{id}");
    }
    // A user without company has no place for them any more, which is reported.
    let of_nobody = "select c.id from contacts c join users u on u.id = c.owner_id where c.company_id is null and u.company_id is null";
    for id in old.ids(of_nobody, &[]).await {
        assert!(report.iter().any(|[_, row, action, _]| *row == id.to_string() && action == "left out"), "{id}");
    }
    drop(new);
    old.drop().await;
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deals_of_users_without_company_are_left_out_where_the_backfill_of_pipelines_is_finished() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let new = db::connect(&own.admin).await.unwrap();
    // Tables with historical rows are not finished.
    let historical = "insert into companies (id, name) values (md5('early')::uuid, 'Early');
        insert into users (id, company_id, email, first_name, last_name) values (md5('early')::uuid, md5('early')::uuid, 'early@old.example', 'E', 'E');
        insert into deals (tenant_id, company_id, owner_id, pipeline_id, stage_id, title)
        select tenant_id, null, md5('early')::uuid, pipeline_id, id, 'E' from pipeline_stages limit 1";
    new.batch_execute(historical).await.unwrap_or_else(|e| panic!("{e:?}"));
    new.batch_execute("call app.finish_backfill()").await.unwrap();
    let lone = "select d.id from deals d join users u on u.id = d.owner_id where d.company_id is null and u.company_id is null";
    let lone = old.ids(lone, &[]).await;
    assert!(lone.len() > 1);
    bring(&own, &old.options()).await;
    let report = old.report();
    let reason = "its user has no company, and the backfill of pipelines is finished";
    for id in &lone {
        assert!(report.iter().any(|l| l[1] == id.to_string() && l[2] == "left out" && l[3] == reason), "{id}");
    }
    drop(new);
    old.drop().await;
    own.drop().await;
}

/// The imported rows: table and id.
async fn imported(db: &Client) -> BTreeSet<(String, Uuid)> {
    let rows = db.query("select table_name, id from ops.imported", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_is_completed_by_the_next_one() {
    let (old, whole, broken) = (Old::new(2).await, OwnDatabase::new().await, OwnDatabase::new().await);
    bring(&whole, &old.options()).await;
    // What the report says about imported rows.
    let told = |report: Vec<[String; 4]>| -> BTreeSet<[String; 4]> {
        report.into_iter().filter(|line| ["changed", "detached"].contains(&line[2].as_str())).collect()
    };
    let whole_report = told(old.report());
    let new = db::connect(&broken.admin).await.unwrap();
    // Ends its connection in the middle of a batch, a later one each time; uncommitted work is lost.
    let interrupt = "create sequence batches_left increment -1 minvalue -1000000 maxvalue 1000000;
        create function interrupt() returns trigger language plpgsql security definer as $$ begin
          if nextval('public.batches_left') = 0 then perform pg_terminate_backend(pg_backend_pid()); end if;
          return null; end $$;
        create trigger interrupt after insert on ops.imported for each statement execute function interrupt();
        create trigger interrupt after insert or delete on ops.import_report for each statement execute function interrupt()";
    new.batch_execute(interrupt).await.unwrap();
    let interrupted = async |after: i64| {
        new.execute("select setval('batches_left', $1)", &[&after]).await.unwrap();
        try_to_bring(&broken, &old.options()).await.err()
    };
    let mut interruptions = 0;
    while let Some(e) = interrupted(3 + 10 * interruptions).await {
        assert!(format!("{e:?}").contains("terminating connection"), "{e:?}");
        interruptions += 1;
        let left = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
        until("its session has ended", async || new.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    }
    assert!(interruptions > 2, "{interruptions} interruptions");
    assert!(!whole_report.is_empty());
    assert_eq!(told(old.report()), whole_report);
    let kept = "select count(*) from ops.import_report";
    assert_eq!(new.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 0);
    let other = db::connect(&whole.admin).await.unwrap();
    assert_eq!(imported(&new).await, imported(&other).await);
    for statement in [
        "select id::text, to_jsonb(u) - 'team_id' from users u order by 1",
        "select id::text, to_jsonb(team_id) from users where team_id is not null order by 1",
        "select id::text, to_jsonb(d) from deals d order by 1",
        "select user_id::text, to_jsonb(k) from app.credentials k order by 1",
        "select name || tenant_id, to_jsonb(is_default) from pipelines order by 1",
        "select to_number || tenant_id, to_jsonb(message_count) from conversations order by 1",
        "select kind || record_id, to_jsonb(run_at) from jobs order by 1",
        "select company_id || name, to_jsonb(last_four) from app.company_secrets order by 1",
        "select tenant_id || address, to_jsonb(reason) from suppressions order by 1",
    ] {
        let rows = async |db: &Client| -> Vec<(String, Value)> {
            let rows = db.query(statement, &[]).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        };
        let (a, b) = (rows(&new).await, rows(&other).await);
        assert!(!a.is_empty(), "{statement}");
        assert_eq!(a, b, "{statement}");
    }
    drop((new, other));
    whole.drop().await;
    broken.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_needed_in_the_end_is_looked_at_first() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let missing = old.folder.join("not/there");
    for options in [
        Options { files: Some(missing.clone()), ..old.options() },
        Options { report: missing.join("report.csv"), ..old.options() },
    ] {
        try_to_bring(&own, &options).await.err().unwrap();
        assert!(imported(&db::connect(&own.admin).await.unwrap()).await.is_empty());
    }
    own.drop().await;
    old.drop().await;
}

/// The report is the only record of what an import has changed.
#[tokio::test(flavor = "multi_thread")]
async fn no_report_is_written_over() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    // As left by a run that was killed.
    std::fs::write(old.folder.join("report.csv"), "").unwrap();
    import_into(&own, &old.options()).await.unwrap_or_else(|e| panic!("{e:?}"));
    let first = old.report();
    assert!(first.iter().any(|line| line[2] == "changed"));
    let refused = import_into(&own, &old.options()).await.unwrap_err().to_string();
    assert!(refused.ends_with("report.csv has the report of another run: give another --report"), "{refused}");
    assert_eq!(old.report(), first);
    let full = OwnDatabase::new().await;
    let failed = import_into(&full, &Options { report: "/dev/full".into(), ..old.options() }).await.unwrap_err();
    let said = format!("{failed:#}");
    assert!(said.contains("the rows are in, and only the report /dev/full could not be written"), "{said}");
    bring(&full, &old.options()).await;
    assert!(first.iter().all(|line| old.report().contains(line)), "the next one tells all");
    full.drop().await;
    let mut by_default = configured(&own, &["import", "--from", &old.url, "--dry-run"]);
    by_default.current_dir(&old.folder);
    let said = run(by_default, "");
    assert!(said.status.success(), "{}", text(&said.stderr));
    let written = std::fs::read_dir(&old.folder).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(written.filter(|name| name.to_string_lossy().starts_with("import-report-2")).count(), 1);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_folder_is_never_the_content_of_another_row() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    old.db.batch_execute("delete from files").await.unwrap();
    for name in ["report.pdf", "orphan.pdf", "both.pdf", "other size.pdf"] {
        std::fs::write(old.folder.join(name), name).unwrap();
    }
    let theirs = add_file(&old, 2, "uploads/report.pdf", 10).await;
    let missing = add_file(&old, 1, "uploads/a/report.pdf", 10).await;
    let orphan = add_file(&old, 1, "uploads/b/orphan.pdf", 10).await;
    let rooted = add_file(&old, 1, "/srv/both.pdf", 8).await;
    let relative = add_file(&old, 2, "uploads/both.pdf", 8).await;
    let of_other_size = add_file(&old, 1, "uploads/other size.pdf", 5).await;
    let reason = |old: &Old, id: Uuid| {
        let report = old.report().into_iter().find(|line| line[0] == "files" && line[1] == id.to_string());
        report.map(|[_, _, _, reason]| reason).unwrap_or_default()
    };
    let new = db::connect(&own.admin).await.unwrap();
    let stored = async || -> Vec<Uuid> {
        let stored = new.query("select id from files where object_key is not null", &[]).await.unwrap();
        stored.iter().map(|row| row.get(0)).collect()
    };
    for dry_run in [true, false, false] {
        let outcomes = bring(&own, &Options { dry_run, ..old.options() }).await;
        assert_eq!(stored().await, if dry_run { vec![] } else { vec![theirs] });
        let again = outcomes.tables.iter().any(|(_, outcome)| outcome.before > 0);
        assert_eq!(outcomes.contents, u64::from(!again));
        assert_eq!(reason(&old, theirs), "");
        for id in [missing, orphan] {
            assert_eq!(reason(&old, id), "its content is not in the folder");
        }
        for id in [rooted, relative] {
            assert!(reason(&old, id).contains("another storage path leads to the same file"), "{}", reason(&old, id));
        }
        assert!(reason(&old, of_other_size).contains("another size"), "{}", reason(&old, of_other_size));
    }
    // Nor when an earlier run stored it.
    let late = add_file(&old, 1, "/srv/report.pdf", 10).await;
    bring(&own, &old.options()).await;
    assert_eq!(stored().await, [theirs]);
    assert!(reason(&old, late).contains("another storage path leads to the same file"), "{}", reason(&old, late));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_of_old_campaigns_is_not_written_to() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let loner = "insert into bulk_email_campaigns (id, user_id, campaign_name, subject, body, status, total_recipients, created_at, updated_at, is_active, is_deleted)
        values (md5('loner')::uuid, (select min(id::text)::uuid from users where company_id is null), 'Loner', 'Subject', 'Body', 'sent', 1, '2024-12-01', '2025-01-01', true, false);
        insert into bulk_email_analytics (id, campaign_id, recipient_email, bounced_at, unsubscribed, clicked, created_at, updated_at, is_active, is_deleted)
        values (md5('away')::uuid, md5('loner')::uuid, ' Away@old.example ', '2024-12-03', null, null, '2024-12-01', '2025-01-01', true, false),
          (md5('gone')::uuid, md5('campaign1')::uuid, 'gone@old.example', null, true, true, '2024-12-01', '2025-01-01', true, true),
          (md5('twice')::uuid, md5('campaign1')::uuid, 'GONE@old.example', '2024-12-03', null, true, '2024-11-01', '2025-01-01', true, false),
          (md5('still')::uuid, md5('campaign1')::uuid, 'still@old.example', null, false, true, '2024-11-01', '2025-01-01', true, false)";
    old.db.batch_execute(loner).await.unwrap();
    let wanted = "select distinct coalesce(u.company_id, u.id)::text || lower(btrim(a.recipient_email)) || (u.company_id is null)
        from bulk_email_analytics a join bulk_email_campaigns c on c.id = a.campaign_id join users u on u.id = c.user_id
        where a.unsubscribed or a.bounced or a.bounced_at is not null";
    let wanted = async || -> BTreeSet<String> {
        old.db.query(wanted, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let new = db::connect(&own.admin).await.unwrap();
    let here = async || -> BTreeSet<String> {
        let here = "select tenant_id || address || (company_id is null) from suppressions where channel = 'email'";
        new.query(here, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let opt_outs = |outcomes: &Outcomes| outcomes.tables.iter().find(|(table, _)| *table == "opt-outs").unwrap().1;
    let first = opt_outs(&bring(&own, &old.options()).await);
    assert!(wanted().await.len() > 4);
    assert_eq!(here().await, wanted().await);
    assert_eq!((first.now, first.old), (wanted().await.len() as u64, first.now + first.left_out));
    let reasons = "select string_agg(address || ' ' || reason, ', ' order by address) from suppressions where address ~ 'away|gone|still'";
    let reasons: String = new.query_one(reasons, &[]).await.unwrap().get(0);
    assert_eq!(reasons, "away@old.example bounce, gone@old.example unsubscribe");
    let times = "select clicked_at is not null, bounced_at is not null from campaign_recipients where email in ('gone@old.example', 'still@old.example') order by email";
    let times: Vec<(bool, bool)> =
        new.query(times, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(times, [(true, true), (true, false)]);

    // Only once: a person who wants mails again gets them, and later opt-outs are added.
    new.execute("delete from suppressions where address = 'gone@old.example'", &[]).await.unwrap();
    old.db
        .execute("update bulk_email_analytics set unsubscribed = true where id = md5('still')::uuid", &[])
        .await
        .unwrap();
    let second = opt_outs(&bring(&own, &old.options()).await);
    assert_eq!((second.before, second.now), (first.now, 1));
    let differ: Vec<String> = wanted().await.symmetric_difference(&here().await).cloned().collect();
    assert!(differ.len() == 1 && differ[0].contains("gone@"), "{differ:?}");
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_without_a_place_are_counted_and_changed_ones_are_told() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let values = "update contacts set notes = 'Note', address_line1 = '', tags = '[\"vip\"]', custom_fields = '{}', source = 'REFERRAL', lead_score = 7 where id < '4';
        update contacts set is_active = false where id < '2';
        update emails set body_text = 'Mail';
        update emails set body_html = '' where id < '8';
        update workflow_executions set actions_executed = '[1]', error_message = repeat('x', 501);
        alter table deals alter currency type text;
        update deals set currency = 'Euro' where id = md5('deal3')::uuid;
        update companies set monthly_price = -1 where id = md5('company2')::uuid;
        update files set tags = array['a', null];
        update folders set tags = '{{a,b},{c,d}}';
        update users set last_login = '0000-01-01T00:00:00' where last_login is distinct from 'never' and id < '8';
        update users set last_login = '9999-12-31T23:59:59-23:59' where email = 'User2@Old.example';
        update quotes set valid_until = case id when md5('quote3')::uuid then date 'infinity' else '0044-03-15 BC' end where id in (md5('quote3')::uuid, md5('quote5')::uuid);
        update contacts set email = ' ' || email || '  ', updated_at = '9999-12-31 23:59:59' where id = md5('contact7')::uuid;
        update emails set cc_emails = '[\"a@b.c\", {\"email\": \"q@r.s\"}, 5, null, \"\", \"d@e.f\"]', bcc_emails = '[[]]' where id = md5('email3')::uuid";
    let values = values.replace("< '4'", "< '40000000-0000-0000-0000-000000000000'");
    let values = values.replace("< '2'", "< '20000000-0000-0000-0000-000000000000'");
    let values = values.replace("< '8'", "< '80000000-0000-0000-0000-000000000000'");
    old.db.batch_execute(&values).await.unwrap_or_else(|e| panic!("{e:?}"));
    let outcomes = bring(&own, &old.options()).await;
    let (report, summary) = (old.report(), outcomes.summary(&old.options()));
    for (column, lost) in [
        ("contacts.notes", "contacts where notes is not null"),
        ("contacts.tags", "contacts where tags is not null"),
        ("contacts.source", "contacts where source is not null"),
        ("contacts.lead_score", "contacts where lead_score is not null"),
        ("contacts.is_active", "contacts where not is_active"),
        ("contacts.mobile", "contacts where phone is not null and mobile is not null"),
        ("emails.body_text", "emails where body_html <> ''"),
        ("workflow_executions.actions_executed", "workflow_executions"),
    ] {
        let lost: i64 = old.db.query_one(&format!("select count(*) from {lost}"), &[]).await.unwrap().get(0);
        assert!(lost > 0, "{column}");
        assert_eq!(outcomes.values.get(column), Some(&lost), "{column}");
        assert!(summary.lines().any(|line| line.trim_start().starts_with(column)), "{summary}");
        let (table, name) = column.split_once('.').unwrap();
        let line = [table, "", "no place", &format!("{name}: {lost} values have no place here")].map(str::to_owned);
        assert!(report.contains(&line), "{line:?}");
    }
    // Columns that have a counterpart, no meaning, or a new value.
    for column in [
        "contacts.first_name",
        "contacts.phone",
        "contacts.address_line1",
        "contacts.custom_fields",
        "deals.title",
        "files.storage_path",
        "twilio_settings.auth_token",
        "bulk_email_analytics.unsubscribed",
        "users.hashed_password",
    ] {
        assert_eq!(outcomes.values.get(column), None, "{column}");
    }
    let changed = |table: &str, what: &str| -> BTreeSet<Uuid> {
        let lines = report.iter().filter(|l| l[0] == table && l[2] == "changed" && l[3].contains(what));
        lines.map(|l| l[1].parse().unwrap()).collect()
    };
    let new = db::connect(&own.admin).await.unwrap();
    for (table, what, condition) in [
        ("deals", "probability is outside", "probability > 100"),
        ("deals", "currency", "currency = 'Euro'"),
        ("companies", "monthly_price", "monthly_price < 0"),
        ("quotes", "more than two decimals", "round(amount, 2) <> amount"),
        ("workflow_executions", "longer than 500", "length(error_message) > 500"),
        ("users", "last_login", "last_login in ('never', '0000-01-01T00:00:00', '9999-12-31T23:59:59-23:59')"),
        ("emails", "bcc_emails has more in it than texts", "bcc_emails = '[[]]'"),
        ("emails", "cc_emails has more in it than texts", "bcc_emails = '[[]]'"),
        ("files", "no plain list", "array_position(tags, null) is not null"),
        ("folders", "no plain list", "array_ndims(tags) > 1"),
    ] {
        let here = new.query("select id from ops.imported where table_name = $1", &[&table]).await.unwrap();
        let here: BTreeSet<Uuid> = here.iter().map(|row| row.get(0)).collect();
        let there = old.ids(&format!("select id from {table} where {condition}"), &[]).await;
        let wanted: BTreeSet<Uuid> = there.intersection(&here).copied().collect();
        assert!(!wanted.is_empty(), "{table} {what}");
        assert_eq!(changed(table, what), wanted, "{table} {what}");
    }
    let domains =
        "select domain from companies where id in (md5('company1')::uuid, md5('company2')::uuid) order by created_at";
    let domains: Vec<Option<String>> = new.query(domains, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(domains, [Some("shared.example".to_owned()), None]);
    let second = old.ids("select id from companies where id = md5('company2')::uuid", &[]).await;
    assert!(changed("companies", "another company has its name or domain").is_superset(&second));
    let no_days = report
        .iter()
        .filter(|l| l[0] == "quotes" && l[3] == "valid_until is no time of a calendar: it has none")
        .count();
    assert_eq!(no_days, 2);
    let lists = "select cc, bcc from emails where id = md5('email3')::uuid";
    let lists = new.query_one(lists, &[]).await.unwrap();
    assert_eq!((lists.get(0), lists.get(1)), (Some("a@b.c, d@e.f"), None::<&str>));
    let ends = "select email, updated_at = '9999-12-31 23:59:59+00', (select last_login is null from users where email = 'user2@old.example')
        from contacts where id = md5('contact7')::uuid";
    let ends = new.query_one(ends, &[]).await.unwrap();
    assert_eq!((ends.get(0), ends.get(1), ends.get(2)), ("c7@old.example", true, true));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deals_of_users_without_company_have_a_pipeline_and_follow_into_the_first_company() {
    let (old, own) = (Old::new(2).await, OwnDatabase::new().await);
    let mine = "insert into pipelines (id, name, is_default, order_index, created_at, updated_at, is_active, is_deleted)
        values (md5('mine')::uuid, 'Mine', true, 0, '2024-02-01', '2024-02-01', true, false);
        insert into pipeline_stages (id, pipeline_id, name, order_index, created_at, updated_at, is_active, is_deleted)
        values (md5('my stage')::uuid, md5('mine')::uuid, 'My stage', 0, '2024-02-01', '2024-02-01', true, false);
        insert into deals (id, title, value, pipeline_id, stage_id, status, owner_id, created_at, updated_at, is_active, is_deleted)
        select md5('my deal')::uuid, 'My deal', 1, md5('mine')::uuid, md5('my stage')::uuid, 'OPEN', owner_id, '2024-02-01', '2024-02-01', true, false
        from deals d where d.company_id is null and (select u.company_id is null and not u.is_deleted from users u where u.id = d.owner_id) order by id limit 1";
    old.db.batch_execute(mine).await.unwrap_or_else(|e| panic!("{e:?}"));
    bring(&own, &old.options()).await;
    bring(&own, &old.options()).await;
    let there = "select d.id, d.owner_id, s.name, p.name from deals d join users u on u.id = d.owner_id
        join pipeline_stages s on s.id = d.stage_id join pipelines p on p.id = d.pipeline_id
        where d.company_id is null and u.company_id is null and not u.is_deleted and d.value between 0 and 1e12";
    let there = old.db.query(there, &[]).await.unwrap();
    let new = db::connect(&own.admin).await.unwrap();
    let here =
        "select d.tenant_id, d.company_id is null and p.company_id is null and s.company_id is null, s.name, p.name
        from deals d join pipeline_stages s on s.id = d.stage_id join pipelines p on p.id = d.pipeline_id
        where d.id = $1 and s.owner_id = $2 and p.owner_id = $2";
    let mut own_pipelines = 0;
    for deal in &there {
        let (id, owner, stage, pipeline): (Uuid, Uuid, String, String) =
            (deal.get(0), deal.get(1), deal.get(2), deal.get(3));
        let here = new.query_one(here, &[&id, &owner]).await.unwrap();
        assert_eq!((here.get::<_, Uuid>(0), here.get::<_, bool>(1), here.get::<_, String>(2)), (owner, true, stage));
        let kept = here.get::<_, String>(3) == pipeline;
        assert_eq!(kept, pipeline == "Mine");
        own_pipelines += usize::from(kept);
    }
    assert!(own_pipelines == 1 && there.len() > 3, "{own_pipelines} of {}", there.len());
    let wrong = old.report().into_iter().find(|l| l[0] == "pipelines" && l[3] == "it has no user");
    assert_eq!(wrong, None);

    // The user gets a company, and finds the deals where they were.
    let (user, company): (Uuid, Uuid) = (
        there[0].get("owner_id"),
        new.query_one("select company_id from users where email = 'user2@old.example'", &[]).await.unwrap().get(0),
    );
    new.batch_execute("set role ringfence_dba").await.unwrap();
    new.execute("select app.assign_company($1, $2)", &[&user, &company]).await.unwrap_or_else(|e| panic!("{e:?}"));
    let mut api = db::connect(&own.api).await.unwrap();
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(company, user)).await.unwrap();
    for deal in there.iter().filter(|deal| deal.get::<_, Uuid>("owner_id") == user) {
        let seen = "select from deals d join pipeline_stages s on s.id = d.stage_id join pipelines p on p.id = s.pipeline_id where d.id = $1";
        assert_eq!(tx.query(seen, &[&deal.get::<_, Uuid>("id")]).await.unwrap().len(), 1);
    }
    tx.rollback().await.unwrap();
    drop((new, api));
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_its_user_has_moved_stays_in_the_company_of_the_old_database() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    old.db
        .execute("update users set company_id = md5('none')::uuid where id = md5('user21')::uuid", &[])
        .await
        .unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    // 20 is in company 4, and 50 in company 9; 21 is in one that was not imported, and 73 and 74 are in none.
    for (user, companies) in [(20, &[2][..]), (50, &[10]), (21, &[5]), (73, &[2]), (74, &[3, 2])] {
        for company in companies {
            let assign = "select app.assign_company(md5('user' || $1::int)::uuid, md5('company' || $2::int)::uuid)";
            new.execute(assign, &[&user, company]).await.unwrap_or_else(|e| panic!("{user}: {e:?}"));
        }
    }
    let company: String =
        new.query_one("select name from companies where id = md5('company9')::uuid", &[]).await.unwrap().get(0);
    let company = Erase::Company { company, options: erase::Options { dry_run: false, yes: true } };
    let storage = own.store();
    erase::run(&own.admin, &company, &storage).await.unwrap_or_else(|e| panic!("{e:?}"));

    let late = "insert into contacts (id, first_name, last_name, email, status, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
        select md5('late' || i)::uuid, 'Late', 'Row', 'late' || i || '@old.example', 'NEW', md5('user' || i)::uuid, null, now(), now(), true, false
        from unnest(array[19, 20, 50, 21, 73, 74]) i;
        insert into deals (id, title, value, pipeline_id, stage_id, status, owner_id, contact_id, company_id, created_at, updated_at, is_active, is_deleted)
        select md5('late' || i)::uuid, 'Late', 1, md5('pipeline7')::uuid, md5('stage25')::uuid, 'OPEN', md5('user20')::uuid, md5('late20')::uuid,
          case i when 1 then md5('company4')::uuid end, now(), now(), true, false
        from generate_series(1, 2) i;
        insert into scheduled_sms (id, user_id, company_id, to_address, from_address, body, scheduled_at)
        values (md5('late')::uuid, md5('user20')::uuid, null, '+1', '+2', 'Late', now() + interval '20 days');
        insert into notifications (id, title, message, type, read, user_id, company_id, created_at, updated_at, is_active, is_deleted)
        select md5('late' || i)::uuid, 'Late', 'Late', 'INFO', false, md5('user20')::uuid, case i when 1 then md5('company4')::uuid end, now(), now(), true, false
        from generate_series(1, 2) i";
    old.db.batch_execute(late).await.unwrap_or_else(|e| panic!("{e:?}"));
    bring(&own, &old.options()).await;
    let whose = async |table: &str, row: &str, owner: &str| -> Option<(Option<String>, Option<String>, bool)> {
        let name = |of: &str| {
            format!("(select 'company' || i from generate_series(1, 12) i where md5('company' || i)::uuid = {of})")
        };
        let whose = format!(
            "select {}, {}, {owner} = md5('user20')::uuid from {table} where id = md5($1)::uuid",
            name("tenant_id"),
            name("company_id")
        );
        new.query_opt(&whose, &[&row]).await.unwrap().map(|row| (row.get(0), row.get(1), row.get(2)))
    };
    let of = |tenant: &str, company: &str, is_theirs: bool| {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Some((name(tenant), name(company), is_theirs))
    };
    assert_eq!(whose("contacts", "late19", "owner_id").await, of("company4", "", false), "has not moved");
    assert_eq!(
        whose("contacts", "late20", "owner_id").await,
        of("company4", "company4", true),
        "as the move left those before"
    );
    for deal in ["late1", "late2"] {
        assert_eq!(whose("deals", deal, "owner_id").await, of("company4", "company4", true));
    }
    assert_eq!(whose("notifications", "late1", "user_id").await, of("company4", "company4", true));
    assert_eq!(whose("notifications", "late2", "user_id").await, of("company4", "", true));
    assert_eq!(whose("contacts", "late21", "owner_id").await, of("company5", "", false), "the first company");
    assert_eq!(whose("contacts", "late73", "owner_id").await, of("company2", "", false), "the first company");
    assert_eq!(whose("contacts", "late50", "owner_id").await, None, "of a company that was erased");
    assert_eq!(whose("contacts", "late74", "owner_id").await, None, "which was the first?");
    let cancelled = "select is_cancelled and error_message = 'Its user has left the company' from scheduled_sms where id = md5('late')::uuid";
    assert!(new.query_one(cancelled, &[]).await.unwrap().get::<_, bool>(0));
    let told = async |row: &str| -> Vec<(String, String)> {
        let id: Uuid = new.query_one("select md5($1)::uuid", &[&row]).await.unwrap().get(0);
        old.report()
            .into_iter()
            .filter(|l| l[1] == id.to_string() && l[0] == "contacts")
            .map(|[_, _, what, why]| (what, why))
            .collect()
    };
    for (row, action, reason) in [
        ("late20", "changed", "its user has left the company here"),
        ("late50", "left out", "was deleted here"),
        ("late74", "left out", "has no company there and was in several here"),
    ] {
        let told = told(row).await;
        assert!(told.len() == 1 && told[0].0 == action && told[0].1.contains(reason), "{told:?}");
    }
    new.batch_execute("call app.run_backfill()").await.unwrap();
    assert_eq!(whose("contacts", "late20", "owner_id").await, of("company4", "company4", true));
    assert_eq!(whose("contacts", "late73", "owner_id").await, of("company2", "company2", false));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_in_another_company_there_waits_for_its_user() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    bring(&own, &old.options()).await;
    // From company 4 to 5, only in the old database.
    let late = "update users set company_id = md5('company5')::uuid where id = md5('user20')::uuid;
        insert into contacts (id, first_name, last_name, email, status, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
        values (md5('late')::uuid, 'Late', 'Row', 'late@old.example', 'NEW', md5('user20')::uuid, null, now(), now(), true, false)";
    old.db.batch_execute(late).await.unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let place =
        "select tenant_id = md5('company5')::uuid and company_id is null from contacts where id = md5('late')::uuid";
    assert!(new.query_opt(place, &[]).await.unwrap().is_none());
    let id: Uuid = new.query_one("select md5('late')::uuid", &[]).await.unwrap().get(0);
    let told: Vec<_> = old.report().into_iter().filter(|line| line[1] == id.to_string()).collect();
    assert!(
        told.len() == 1 && told[0][2] == "left out" && told[0][3].contains("in another company there than here"),
        "{told:?}"
    );
    let assign = "select app.assign_company(md5('user20')::uuid, md5('company5')::uuid)";
    new.execute(assign, &[]).await.unwrap();
    bring(&own, &old.options()).await;
    assert!(new.query_one(place, &[]).await.unwrap().get::<_, bool>(0));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_follow_a_user_who_gets_a_company_while_they_are_brought() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    bring(&own, &old.options()).await;
    // 19 is in company 4, and 73 in none.
    let late = "insert into contacts (id, first_name, last_name, email, status, owner_id, company_id, created_at, updated_at, is_active, is_deleted)
        select md5('late' || i)::uuid, 'Late', 'Row', 'late' || i || '@old.example', 'NEW', md5('user' || i)::uuid, null, now(), now(), true, false
        from unnest(array[19, 73]) i;
        insert into notifications (id, title, message, type, read, user_id, company_id, created_at, updated_at, is_active, is_deleted)
        values (md5('late')::uuid, 'Late', 'Late', 'INFO', false, md5('user73')::uuid, null, now(), now(), true, false)";
    old.db.batch_execute(late).await.unwrap();
    let (mut dba, watch) = (db::connect(&own.admin).await.unwrap(), db::connect(&own.admin).await.unwrap());
    let moving = dba.transaction().await.unwrap();
    for (user, company) in [("user73", "company2"), ("user19", "company5")] {
        let assign = "select app.assign_company(md5($1)::uuid, md5($2)::uuid)";
        moving.execute(assign, &[&user, &company]).await.unwrap_or_else(|e| panic!("{e:?}"));
    }
    let options = old.options();
    let done = async {
        until("the import waits for who moves", async || waiting_for_locks(&watch).await > 0).await;
        moving.commit().await.unwrap();
    };
    tokio::join!(bring(&own, &options), done);
    let place = async |table: &str, row: &str, company: &str| -> (bool, bool) {
        let place = format!(
            "select tenant_id = md5($2)::uuid, company_id is not distinct from md5($2)::uuid from {table} where id = md5($1)::uuid"
        );
        let row = watch.query_one(&place, &[&row, &company]).await.unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!(place("contacts", "late73", "company2").await, (true, false), "still historical");
    assert_eq!(
        place("contacts", "late19", "company4").await,
        (true, true),
        "stays with the company that its user left"
    );
    assert_eq!(place("notifications", "late", "company2").await, (true, false));
    drop((dba, watch));
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_and_times_come_as_they_are_from_another_alphabet_and_time_zone() {
    let how = "encoding 'UTF8' lc_collate 'C' lc_ctype 'C' template template0";
    let (old, own) = (Old::with(1, how).await, OwnDatabase::new().await);
    let odd = format!(
        "alter database {} set timezone = 'America/New_York';
        update users set email = ' ÄRGER@old.example' where id = md5('user2')::uuid;
        update bulk_email_analytics set recipient_email = 'ÜBER@old.example', unsubscribed = true where id = md5('twice')::uuid;
        alter table deals alter created_at type timestamptz using created_at at time zone 'UTC',
          alter stage_entered_at type timestamptz using stage_entered_at at time zone 'UTC'",
        old.name
    );
    let recipient = "insert into bulk_email_analytics (id, campaign_id, recipient_email, created_at, updated_at, is_active, is_deleted)
        values (md5('twice')::uuid, md5('campaign1')::uuid, '', '2024-11-01', '2025-01-01', true, false)";
    old.db.batch_execute(recipient).await.unwrap();
    old.db.batch_execute(&odd).await.unwrap_or_else(|e| panic!("{e:?}"));
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let count = async |sql: &str| -> i64 { new.query_one(sql, &[]).await.unwrap().get(0) };
    let user = "select count(*) from users where id = md5('user2')::uuid and email = 'ärger@old.example'";
    assert_eq!(count(user).await, 1);
    assert_eq!(count("select count(*) from suppressions where address = 'über@old.example'").await, 1);
    assert_eq!(count("select count(*) from campaign_recipients where email = 'über@old.example'").await, 1);
    let entered = async |db: &Client, sql: &str| -> BTreeMap<Uuid, i64> {
        db.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let there =
        entered(&old.db, "select id, extract(epoch from coalesce(stage_entered_at, created_at))::bigint from deals")
            .await;
    let here = entered(&new, "select id, extract(epoch from stage_entered_at)::bigint from deals").await;
    assert!(here.len() > 10);
    for (id, time) in here {
        assert_eq!(there[&id], time, "{id}");
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_login_may_not_read_is_refused_and_what_is_not_there_is_told() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let reader = format!("reader_{}", Uuid::new_v4().simple());
    let grants = format!(
        "create role {reader} login; grant select on all tables in schema public to {reader}; revoke select on calls, deals, audit_logs from {reader};
        revoke select on contacts from {reader}; grant select (id, owner_id, first_name, email, created_at) on contacts to {reader}"
    );
    old.db.batch_execute(&grants).await.unwrap();
    let options = Options { from: old.url.replace("ringfence_admin", &reader), ..old.options() };
    let refused = async || format!("{:#}", try_to_bring(&own, &options).await.unwrap_err());
    let said = refused().await;
    for part in [
        "audit_logs, calls, contacts (",
        "company_id",
        "deals of --from",
        &format!("grant select on all tables in schema public to {reader}"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("first_name") && !said.contains("emails"), "{said}");
    let enter =
        format!("grant select on all tables in schema public to {reader}; revoke usage on schema public from public");
    old.db.batch_execute(&enter).await.unwrap();
    assert!(refused().await.contains("grant usage on schema public"));
    let policy = format!(
        "grant usage on schema public to {reader}; alter table quotes enable row level security; create policy none on quotes using (false)"
    );
    old.db.batch_execute(&policy).await.unwrap();
    let said = refused().await;
    assert!(
        said.contains("policies hide rows of quotes") && said.contains(&format!("alter role {reader} bypassrls")),
        "{said}"
    );
    old.db
        .batch_execute("alter table quotes disable row level security; alter table emails rename owner_id to sender_id")
        .await
        .unwrap();
    assert!(refused().await.contains("emails of --from has no column owner_id"));
    old.db
        .batch_execute("alter table emails rename sender_id to owner_id; alter table files rename company_id to firm")
        .await
        .unwrap();
    assert!(refused().await.contains("files of --from has no column company_id"));
    assert!(imported(&db::connect(&own.admin).await.unwrap()).await.is_empty());

    old.db.batch_execute("alter table files rename firm to company_id; drop table bulk_email_analytics, sms_templates; alter table calls drop notes").await.unwrap();
    let outcomes = bring(&own, &options).await;
    assert_eq!(outcomes.missing, ["sms_templates", "calls.notes", "bulk_email_analytics"]);
    assert!(outcomes.summary(&options).contains("Not there in the old database: sms_templates, calls.notes"));
    let told = |line: [&str; 4]| old.report().contains(&line.map(str::to_owned));
    assert!(told(["sms_templates", "", "missing", "the table is not there in the old database"]));
    assert!(told(["calls", "", "missing", "notes: the column is not there in the old database"]));
    old.db.batch_execute(&format!("drop owned by {reader}; drop role {reader}")).await.unwrap();
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_in_an_unknown_encoding_are_named_before_anything_comes() {
    let how = "encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0";
    let (old, own) = (Old::with(1, how).await, OwnDatabase::new().await);
    let latin = "update contacts set notes = convert_from('\\xe9', 'SQL_ASCII'); update contacts set last_name = convert_from('\\x4ae9', 'SQL_ASCII') where id = md5('contact3')::uuid";
    old.db.batch_execute(latin).await.unwrap();
    let said = format!("{:#}", try_to_bring(&own, &old.options()).await.unwrap_err());
    let id: Uuid = old.db.query_one("select md5('contact3')::uuid", &[]).await.unwrap().get(0);
    assert!(
        said.contains(&format!("contacts.last_name of {id}. Correct")),
        "what does not come does not matter: {said}"
    );
    assert!(imported(&db::connect(&own.admin).await.unwrap()).await.is_empty());
    let as_told = "update contacts set last_name = convert_from(convert(convert_to(last_name, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'UTF8') where id = md5('contact3')::uuid";
    old.db.execute(as_told, &[]).await.unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let name: String =
        new.query_one("select last_name from contacts where id = md5('contact3')::uuid", &[]).await.unwrap().get(0);
    assert_eq!(name, "J\u{e9}");
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// An old installation lacks what later versions added.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_read_as_empty() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let lacking = [
        "bulk_email_analytics.opened",
        "companies.is_active",
        "contacts.phone",
        "deals.stage_entered_at",
        "emails.cc_emails",
        "files.mime_type",
        "pipelines.company_id",
        "users.last_login",
    ];
    for column in lacking {
        let (table, column) = column.split_once('.').unwrap();
        old.db.batch_execute(&format!("alter table {table} drop {column}")).await.unwrap();
    }
    let json = "alter table deals alter tags type json, alter custom_fields type json; alter table emails alter bcc_emails type json";
    old.db.batch_execute(json).await.unwrap();
    let outcomes = bring(&own, &old.options()).await;
    let missing: BTreeSet<&str> = outcomes.missing.iter().map(String::as_str).collect();
    assert_eq!(missing, BTreeSet::from(lacking));
    let new = db::connect(&own.admin).await.unwrap();
    for table in ["users", "pipelines", "contacts", "deals", "emails", "files", "campaign_recipients"] {
        let rows: i64 = new.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0);
        assert!(rows > 0, "{table}");
    }
    let tagged = "select count(*) from deals where tags = '[\"a\"]' and stage_entered_at = created_at";
    assert!(new.query_one(tagged, &[]).await.unwrap().get::<_, i64>(0) > 0);

    // Only the columns with owners and names are left; then tables are missing to which others refer.
    let all = "do $$ declare c record; begin
        for c in select table_name, column_name from information_schema.columns where table_schema = 'public'
            and column_name not in ('id', 'company_id', 'owner_id', 'user_id', 'email', 'hashed_password', 'first_name', 'last_name') loop
          execute format('alter table %I drop %I', c.table_name, c.column_name);
        end loop; end $$";
    old.db.batch_execute(all).await.unwrap();
    let dry = Options { dry_run: true, ..old.options() };
    bring(&own, &dry).await;
    old.db.batch_execute("drop table deals, pipeline_stages, workflows, bulk_email_campaigns").await.unwrap();
    let outcomes = bring(&own, &dry).await;
    for table in ["deals", "pipeline_stages", "workflows", "bulk_email_campaigns"] {
        assert!(outcomes.missing.contains(&table.to_owned()), "{table}");
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// A company must not be left out for a time that it can do without.
#[tokio::test(flavor = "multi_thread")]
async fn an_odd_time_costs_its_row_no_more_than_that() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let odd = "update companies set trial_ends_at = 'infinity' where id = md5('company3')::uuid;
        update companies set created_at = '-infinity' where id = md5('company4')::uuid;
        update scheduled_sms set scheduled_at = 'infinity' where id = md5('scheduled4')::uuid";
    old.db.batch_execute(odd).await.unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let here = "select count(*) from companies where id in (md5('company3')::uuid, md5('company4')::uuid) and trial_ends_at is null
        and (created_at > now() - interval '1 day') = (id = md5('company4')::uuid)";
    assert_eq!(new.query_one(here, &[]).await.unwrap().get::<_, i64>(0), 2);
    let report = old.report();
    let told = |table: &str, action: &str, reason: &str| {
        report.iter().filter(|l| l[0] == table && l[2] == action && l[3] == reason).count()
    };
    assert_eq!(told("companies", "changed", "trial_ends_at is no time of a calendar: it has none"), 1);
    assert_eq!(told("companies", "changed", "created_at is no time of a calendar: the default"), 1);
    assert_eq!(told("scheduled_sms", "left out", "scheduled_at is no time of a calendar"), 1);
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// A row that is left out takes no address, name or domain from a row that fits.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_the_one_that_fits_stays_as_it_is() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    // The first of two with one address, and the first of two with one domain, do not fit.
    let unfit = "alter table users alter first_name drop not null; alter table companies alter name type text;
        update users set first_name = null where id = md5('user14')::uuid;
        update companies set name = repeat('x', 256) where id = md5('company1')::uuid";
    old.db.batch_execute(unfit).await.unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let live =
        "select count(*) from users where email = 'user14@old.example' and not is_deleted and id = md5('user15')::uuid";
    assert_eq!(new.query_one(live, &[]).await.unwrap().get::<_, i64>(0), 1);
    let domain = "select domain from companies where id = md5('company2')::uuid";
    assert_eq!(new.query_one(domain, &[]).await.unwrap().get::<_, Option<&str>>(0), Some("shared.example"));
    let report = old.report();
    for id in ["user15", "company2"] {
        let id: Uuid = old.db.query_one("select md5($1)::uuid", &[&id]).await.unwrap().get(0);
        assert!(!report.iter().any(|l| l[1] == id.to_string() && l[3].contains("another")), "{id}");
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_that_comes_later_has_its_people_and_rows() {
    let (old, own, whole) = (Old::new(1).await, OwnDatabase::new().await, OwnDatabase::new().await);
    // A company without users, with a row of a user without company.
    let lonely = "delete from users where company_id = md5('company5')::uuid;
        update contacts set company_id = md5('company5')::uuid, owner_id = md5('user73')::uuid where id = md5('contact7')::uuid";
    old.db.batch_execute(lonely).await.unwrap();
    bring(&whole, &old.options()).await;
    let name = "update companies set name = $1 where id = md5('company3')::uuid";
    old.db.batch_execute("alter table companies alter name type text").await.unwrap();
    old.db.execute(name, &[&"x".repeat(256)]).await.unwrap();
    bring(&own, &old.options()).await;
    let nobody = "its user is in no company here, and its company has nobody: give it somebody with `ringfence user assign`, and import again";
    assert!(old.report().iter().any(|l| l[0] == "contacts" && l[3] == nobody), "{:?}", old.report());
    let (new, other) = (db::connect(&own.admin).await.unwrap(), db::connect(&whole.admin).await.unwrap());
    old.db.execute(name, &[&"Company 3"]).await.unwrap();
    bring(&own, &old.options()).await;
    let told = old.report().iter().filter(|l| l[3] == "its company has come over since: it belongs to it now").count();
    assert_eq!(told, 6);
    for table in ["users", "contacts", "activities", "sms_messages"] {
        let tenant = if table == "users" { "company_id" } else { "tenant_id" };
        let rows = format!("select id, {tenant}, company_id from {table} where {tenant} = md5('company3')::uuid");
        let rows = async |db: &Client| -> BTreeMap<Uuid, (Uuid, Option<Uuid>)> {
            let rows = db.query(&rows, &[]).await.unwrap();
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
        };
        let (here, there) = (rows(&new).await, rows(&other).await);
        assert!(!there.is_empty(), "{table}");
        assert_eq!(here, there, "{table}");
    }
    drop((new, other));
    own.drop().await;
    whole.drop().await;
    old.drop().await;
}
