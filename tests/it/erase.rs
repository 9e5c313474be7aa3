//! Erasure of a company and of a person: everything of theirs, nothing of anybody else's, and a record without names.

use crate::support::{
    command::{ringfence, text},
    database::OwnDatabase,
    seed::Seeded,
    world::{World, add_person},
};
use ringfence::{
    clients::storage::Storage,
    commands::erase::{self, Counts, Erase, Options},
    db, store_owner,
};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Claims the store, before it has objects that the database does not know.
async fn claim(own: &OwnDatabase) {
    store_owner::adopt(&db::connect(&own.admin).await.unwrap(), &own.store()).await.unwrap();
}

async fn put(storage: &Storage, key: &str) {
    let mut writing = storage.write(key, &TaskTracker::new()).await.unwrap();
    writing.put(b"x").await.unwrap();
    writing.finish().await.unwrap();
    writing.keep();
}

/// The number of rows in each table that contain one of these texts.
async fn mentions(db: &Client, marks: &[String]) -> BTreeMap<String, i64> {
    let marks: Vec<String> = marks.iter().map(|mark| format!("%{mark}%")).collect();
    let tables = "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p')
        and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace, 'ops'::regnamespace)";
    let mut found = BTreeMap::new();
    for table in db.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let sql = format!("select count(*) from {table} t where to_jsonb(t)::text like any ($1)");
        found.insert(table, db.query_one(&sql, &[&marks]).await.unwrap().get(0));
    }
    // The records of backfills and of reports to staff have no rows of companies.
    let kept = |table: &str| table.starts_with("app.backfill") || table == "app.staff_log";
    found.retain(|table, rows| *rows > 0 && !kept(table));
    found
}

const NOW: Options = Options { dry_run: false, yes: true };
const DRY: Options = Options { dry_run: true, yes: false };

/// The erasure of everybody with this address, in all companies.
fn person(email: &str) -> Erase {
    Erase::Person { email: Some(email.to_owned()), company: None, contact: None, options: NOW }
}

/// Erases; for a person, a dry run must have announced exactly the same counts.
async fn erased(own: &OwnDatabase, what: Erase) -> Counts {
    let run = async |what: &Erase| erase::run(&own.admin, what, &own.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
    let Erase::Person { email, company, contact, .. } = what.clone() else { return run(&what).await.counts };
    let told = run(&Erase::Person { email, company, contact, options: DRY }).await.counts;
    let counts = run(&what).await.counts;
    assert_eq!(erase::summary(&told), erase::summary(&counts));
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_goes_with_everything() {
    let own = OwnDatabase::new().await;
    let (gone, stays) = (Seeded::within(&own.admin).await, Seeded::within(&own.admin).await);
    let admin = db::connect(&own.admin).await.unwrap();
    let name = gone.world.name.clone();
    // A user who was in the other company earlier has rows there.
    let mover = stays.world.person("company_user").await;
    let theirs =
        "insert into activities (tenant_id, company_id, owner_id, type, subject) values ($1, $1, $2, 'note', 'Stays')";
    admin.execute(theirs, &[&stays.world.company, &mover.id]).await.unwrap();
    admin.execute("select app.assign_company($1, $2)", &[&mover.id, &gone.world.company]).await.unwrap();
    let (ours, theirs) =
        (format!("{}/{}", gone.world.company, Uuid::now_v7()), format!("{}/{}", stays.world.company, Uuid::now_v7()));
    claim(&own).await;
    put(&own.store(), &ours).await;
    put(&own.store(), &theirs).await;
    let of_others = stays.checksums().await;
    let marks = gone.marks().await;

    let dry = erased(&own, Erase::Company { company: name.clone(), options: DRY }).await;
    assert!(dry["contacts"] > 0 && dry["users"] > 0, "{dry:?}");
    let counts = erased(&own, Erase::Company { company: name.clone(), options: NOW }).await;
    for (table, rows) in dry {
        // Some rows are deleted with the rows that they belong to.
        assert!(
            counts[&table] >= 1
                || rows == 0
                || ["deal_stage_history", "pipeline_stages", "quote_lines", "jobs"].contains(&table.as_str()),
            "{table}: {counts:?}"
        );
    }
    let own_marks: Vec<String> = marks
        .into_iter()
        .filter(|m| !m.contains(&mover.id.to_string()))
        .map(|m| m.trim_matches('%').to_owned())
        .collect();
    assert_eq!(mentions(&admin, &own_marks).await, BTreeMap::new());
    assert_eq!(own.store().read_all(&ours).await.unwrap(), None);
    assert!(own.store().read_all(&theirs).await.unwrap().is_some());
    let mut after = stays.checksums().await;
    let mut before = of_others;
    // The user who moved is anonymous, and the other company's rows stay.
    for table in ["users", "app.credentials", "app.caller", "members", "audit_log"] {
        before.remove(table);
        after.remove(table);
    }
    assert_eq!(after, before);
    let moved = admin.query_one("select first_name, is_deleted from users where id = $1", &[&mover.id]).await.unwrap();
    assert_eq!((moved.get::<_, String>(0), moved.get::<_, bool>(1)), ("Deleted".into(), true));
    let record = admin.query_one("select kind, counts from ops.erasures", &[]).await.unwrap();
    let (kind, counts): (String, Value) = (record.get(0), record.get(1));
    // An object that no row names; none of the files has content in the store.
    assert_eq!((kind.as_str(), counts["contacts"].as_u64(), counts["objects"].as_u64()), ("company", Some(1), Some(1)));
    assert!(admin.execute("delete from ops.erasures", &[]).await.is_err(), "the record is only added to");
    assert!(erase::run(&own.admin, &Erase::Company { company: name, options: NOW }, &own.store()).await.is_err());
    drop((admin, gone, stays));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_and_the_companys_records_stay() {
    let own = OwnDatabase::new().await;
    let (seeded, other) = (Seeded::within(&own.admin).await, Seeded::within(&own.admin).await);
    let (world, company) = (&seeded.world, seeded.world.company);
    let email: String = world.value("select email from contacts where tenant_id = $1", &[&company]).await;
    let untouched = other.checksums().await;
    let person = |options| Erase::Person { email: Some(email.to_uppercase()), company: None, contact: None, options };
    let dry = erased(&own, person(DRY)).await;
    assert_eq!(
        (dry["contacts"], dry["sms_messages"], dry["calls"], dry["emails"], dry["files"]),
        (1, 2, 2, 2, 1),
        "{dry:?}"
    );
    assert_eq!(world.value::<i64>("select count(*) from contacts where tenant_id = $1", &[&company]).await, 1);

    let unasked = Erase::Person {
        email: Some(email.clone()),
        company: None,
        contact: None,
        options: Options { dry_run: false, yes: false },
    };
    let refused = erase::run(&own.admin, &unasked, &own.store()).await.unwrap_err().to_string();
    assert!(refused.contains("--yes"), "{refused}");
    // A name with characters that are special in patterns, and no job.
    let name = "Zoe (A.) Quill";
    let rename = "update contacts set title = null, first_name = 'Zoe (A.)', last_name = 'Quill', phone = '+1 555 010 7788' where tenant_id = $1";
    world.db.execute(rename, &[&company]).await.unwrap();
    let others = ["Of somebody else", &format!("A mail of another.{email}"), &format!("Jo{name}"), "15550107788999"];
    let theirs =
        [&*format!("New contact: {name}"), &format!("A mail of {email}, today"), "Call from +1 (555) 010-7788."];
    for text in others.iter().copied().chain(theirs) {
        for (title, message) in [("News", text), (text, "News")] {
            let note = "insert into notifications (tenant_id, company_id, user_id, title, message) values ($1, $1, $2, $3, $4)";
            world.db.execute(note, &[&company, &world.member.id, &title, &message]).await.unwrap();
        }
    }
    erased(&own, person(NOW)).await;
    let notes = "select nullif(title, 'News') || message from notifications where tenant_id = $1 and message = 'News'
        union all select title || message from notifications where tenant_id = $1 and title = 'News'";
    let left = world.db.query(notes, &[&company]).await.unwrap();
    let left: Vec<String> = left.iter().map(|row| row.get::<_, String>(0).replace("News", "")).collect();
    assert_eq!(left, [others, others].concat());
    world.db.execute("delete from notifications where tenant_id = $1", &[&company]).await.unwrap();
    for table in ["contacts", "sms_messages", "calls", "emails", "files", "activities"] {
        let left: i64 = world.value(&format!("select count(*) from {table} where tenant_id = $1"), &[&company]).await;
        assert_eq!(left, 0, "{table}");
    }
    for (table, column) in [("deals", "contact_id"), ("quotes", "client_id")] {
        let kept: i64 = world
            .value(&format!("select count(*) from {table} where tenant_id = $1 and {column} is null"), &[&company])
            .await;
        assert_eq!(kept, 1, "{table}");
    }
    assert_eq!(mentions(&world.db, std::slice::from_ref(&email)).await, BTreeMap::new());

    // A user: no name, no login, and no trace of the address.
    let address = world.admin.email.clone();
    erased(
        &own,
        Erase::Person { email: Some(address.clone()), company: Some(world.name.clone()), contact: None, options: NOW },
    )
    .await;
    assert_eq!(mentions(&world.db, &[address]).await, BTreeMap::new());
    let user = "select is_deleted and first_name = 'Deleted' and not exists (select from app.credentials k where k.user_id = u.id)
        and not exists (select from app.caller c where c.user_id = u.id) from users u where id = $1";
    assert!(world.value::<bool>(user, &[&world.admin.id]).await);
    assert!(world.value::<i64>("select count(*) from deals where owner_id = $1", &[&world.admin.id]).await > 0);
    assert_eq!(other.checksums().await, untouched);
    drop((seeded, other));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_where_only_the_address_or_number_says_so() {
    let own = OwnDatabase::new().await;
    let (a, b) = (World::within(&own.admin, "Alpha").await, World::within(&own.admin, "Beta").await);
    let (email, number) = ("ada@gone.example", "+1 (555) 010-7788");
    let keys: Vec<String> =
        ["theirs", "shared", "sent"].iter().map(|_| format!("{}/{}", a.company, Uuid::now_v7())).collect();
    claim(&own).await;
    for key in &keys {
        put(&own.store(), key).await;
    }
    for world in [&a, &b] {
        for insert in [
            "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone) values ($1, $1, $2, 'Ada', 'Gone', $3, replace($4, '+1 ', '001'))",
            "insert into invitations (tenant_id, company_id, user_id, email, first_name, last_name, user_role, token_hash, expires_at)
               values ($1, $1, $2, $3, 'Ada', 'Gone', 'company_user', sha256(uuid_send(gen_random_uuid())), case $4::text when '' then null else now() end)",
            // A text from the number, and everything that a workflow recorded of it.
            "with text as (
               insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
               values ($1, $1, $2, 'inbound', 'received', $4, '+15550100000', 'I am ' || $3) returning id
             ), flow as (
               insert into workflows (tenant_id, company_id, owner_id, name, trigger) values ($1, $1, $2, 'Texts', 'inbound_sms') returning id
             ), event as (
               insert into workflow_events (tenant_id, company_id, user_id, event, record_id, details)
               select $1, $1, $2, 'inbound_sms', t.id, jsonb_build_object('from', $4::text, 'body', 'I am ' || $3) from text t returning id, details
             ), run as (
               insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event_id, event, trigger_data)
               select $1, $1, $2, f.id, e.id, 'inbound_sms', e.details from flow f, event e returning id, trigger_data
             )
             insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status, input)
             select $1, $1, $2, r.id, 0, 'send_sms', 'success', r.trigger_data from run r",
            // The company's own mails that contain the address: copies, and one that the person sent as a colleague.
            r#"insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body, cc, bcc)
               select $1, $1, $2, 'outbound', 'sent', f, 'bob@else.example', 'Ours', left($4, 0),
                 'eve@else.example, Ada <' || upper($3) || '>, "Else, Bob" <bob@else.example>,"Gone, \"Ada\", <x>" <' || $3 || '>', c
               from (values ('sales@alpha.example', null), ($3, 'x' || $3)) v (f, c)"#,
        ] {
            a.db.execute(insert, &[&world.company, &world.admin.id, &email, &number]).await.unwrap_or_else(|e| panic!("{insert}: {e:?}"));
        }
    }
    let mut files: Vec<Uuid> = Vec::new();
    for key in &keys {
        let insert = "insert into files (id, tenant_id, company_id, owner_id, name, original_name, size, object_key)
            values (right($3, 36)::uuid, $1, $1, $2, 'f', 'f', 1, $3) returning id";
        files.push(a.value(insert, &[&a.company, &a.admin.id, key]).await);
    }
    for (direction, from, to, attached) in [
        ("inbound", email, "sales@alpha.example", vec![files[0], files[1]]),
        ("inbound", "eve@else.example", "sales@alpha.example", vec![files[1]]),
        ("outbound", "sales@alpha.example", email, vec![files[2]]),
    ] {
        let insert = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body, attachments)
            values ($1, $1, $2, $3, 'sent', $4, $5, 'S', 'B', $6)";
        a.db.execute(insert, &[&a.company, &a.admin.id, &direction, &from, &to, &attached]).await.unwrap();
    }
    let of_b = "select (select count(*) from invitations where tenant_id = $1) + (select count(*) from contacts where tenant_id = $1)
        + (select count(*) from workflow_events where tenant_id = $1) + (select count(*) from emails where tenant_id = $1 and cc ilike '%ada@gone%')";
    let before: i64 = a.value(of_b, &[&b.company]).await;

    let person = |company: Option<&World>, options| Erase::Person {
        email: Some(email.to_owned()),
        company: company.map(|c| c.name.clone()),
        contact: None,
        options,
    };
    let dry = erased(&own, person(Some(&a), DRY)).await;
    assert_eq!(
        (dry["invitations"], dry["workflow_executions"], dry["workflow_events"], dry["files"]),
        (1, 1, 1, 1),
        "{dry:?}"
    );
    erased(&own, person(Some(&a), NOW)).await;
    assert_eq!(a.value::<i64>(of_b, &[&b.company]).await, before, "the other company's stay");
    let contents = |key: usize| {
        let (key, store) = (keys[key].clone(), own.store());
        async move { store.read_all(&key).await.unwrap().is_some() }
    };
    assert_eq!((contents(0).await, contents(1).await, contents(2).await), (false, true, true));
    let mails = "select string_agg(concat_ws('|', from_email, cc, bcc), ';' order by from_email) from emails where tenant_id = $1 and subject = 'Ours'";
    assert_eq!(
        a.value::<String>(mails, &[&a.company]).await,
        r#"erased@deleted.invalid|eve@else.example, "Else, Bob" <bob@else.example>|xada@gone.example;sales@alpha.example|eve@else.example, "Else, Bob" <bob@else.example>"#
    );

    // The rest; then the address is unknown. If only an invitation has it, that is erased, too.
    erased(&own, person(None, NOW)).await;
    let others = "update emails set bcc = null where bcc = $1";
    a.db.execute(others, &[&format!("x{email}")]).await.unwrap();
    assert_eq!(mentions(&a.db, &[email.to_owned(), number.to_owned()]).await, BTreeMap::new());
    assert!(erase::run(&own.admin, &person(None, NOW), &own.store()).await.is_err());
    let invite = "insert into invitations (tenant_id, company_id, user_id, email, first_name, last_name, user_role, token_hash, expires_at)
        values ($1, $1, $2, $3, 'Ada', 'Gone', 'company_user', 'x', now())";
    a.db.execute(invite, &[&a.company, &a.admin.id, &email]).await.unwrap();
    let counts = erased(&own, person(None, NOW)).await;
    assert_eq!((counts["invitations"], counts["contacts"]), (1, 0));
    drop((a, b));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_from_logs_and_runs_and_from_what_a_company_registered_with() {
    let own = OwnDatabase::new().await;
    let world = World::within(&own.admin, "Company").await;
    let add = async |sql: &str, params: &[&(dyn tokio_postgres::types::ToSql + Sync)]| -> Uuid {
        let all: Vec<_> = [&world.company as &(dyn tokio_postgres::types::ToSql + Sync), &world.admin.id]
            .into_iter()
            .chain(params.iter().copied())
            .collect();
        world.db.query_one(sql, &all).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
    };

    // An invitation that was withdrawn is only in the audit log.
    let invite = "insert into invitations (tenant_id, company_id, user_id, email, first_name, last_name, user_role, token_hash, expires_at)
        values ($1, $1, $2, $3, 'Ann', 'Gone', 'company_user', sha256($3::text::bytea), now()) returning id";
    for email in ["ann@gone.example", "joann@gone.example"] {
        let invitation = add(invite, &[&email]).await;
        world.db.execute("delete from invitations where id = $1", &[&invitation]).await.unwrap();
    }
    assert!(
        erase::run(&own.admin, &person("gone.example"), &own.store()).await.is_err(),
        "a part of an address is nobody"
    );
    let counts = erased(&own, person("ann@gone.example")).await;
    assert_eq!(counts["audit_log, what it says of them"], 2, "{counts:?}");
    let left: i64 = world.value("select count(*) from audit_log where after ->> 'email' ~ 'ann@gone'", &[]).await;
    assert_eq!(left, 1, "the other address is another person's");
    assert!(erase::run(&own.admin, &person("ann@gone.example"), &own.store()).await.is_err());

    // Signers of documents and recipients of workflows need not be contacts.
    let flow = "insert into workflows (tenant_id, company_id, owner_id, name, trigger) values ($1, $1, $2, $3, 'document_signed') returning id";
    let flow = add(flow, &[&"Signed"]).await;
    let event = "insert into workflow_events (tenant_id, company_id, user_id, event, details)
        values ($1, $1, $2, 'document_signed', jsonb_build_object('document_name', 'Contract', 'signer_email', $3::text)) returning id";
    let run = "insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event_id, event, trigger_data)
        select e.tenant_id, e.company_id, $2, $3, e.id, e.event, e.details from workflow_events e where e.id = $4 and e.tenant_id = $1 returning id";
    let signed = add(event, &[&"Sig <Sig@Signed.example>"]).await;
    add(run, &[&flow, &signed]).await;
    let other = add(event, &[&"bob@signed.example"]).await;
    let other = add(run, &[&flow, &other]).await;
    let step = "insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status, input, result)
        values ($1, $1, $2, $3, $4, 'send_email', 'success', jsonb_build_object('to', $5::text, 'body', E'Hello\\n' || $5::text), '{}') returning id";
    for (position, to) in [(0, "partner@step.example"), (1, "+1 555 010-7788"), (2, "bob@signed.example")] {
        add(step, &[&other, &position, &to]).await;
    }
    let then = "update workflow_executions set at_event = jsonb_build_object('record', jsonb_build_object('to_email', 'A <partner@step.example>')) where id = $1";
    world.db.execute(then, &[&other]).await.unwrap();
    let counts = erased(&own, person("sig@signed.example")).await;
    assert_eq!((counts["workflow_events"], counts["workflow_executions"]), (1, 1), "{counts:?}");
    let counts = erased(&own, person("partner@step.example")).await;
    assert_eq!((counts["workflow_executions"], counts["workflow_steps, what they did"]), (0, 1), "{counts:?}");

    // The company's own address and number are those of the user who registered it.
    let register = "update companies set email = 'Ada@Gone.example', phone = '(555) 010-7788' where id = $1";
    world.db.execute(register, &[&world.company]).await.unwrap();
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone)
        values ($1, $1, $2, 'Ada', 'Gone', 'ada@gone.example', '001 555 0107788') returning id";
    add(contact, &[]).await;
    let mail = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
        values ($1, $1, $2, 'inbound', 'received', 'Ada Gone <Ada@gone.example>', 'sales@company.example', 'S', 'B') returning id";
    add(mail, &[]).await;
    // A number with the same last ten digits in another country.
    let foreign = "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address)
        values ($1, $1, $2, 'inbound', 'completed', '+495550107788', '+15550100000') returning id";
    add(foreign, &[]).await;
    // A run that has not begun has the earlier contact of its deal, which has another one by now.
    let waiting = "insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, at_event)
        select $1, $1, $2, $3, 'deal_created', jsonb_build_object('contact', to_jsonb(c)) from contacts c where c.tenant_id = $1 returning id";
    add(waiting, &[&flow]).await;
    let counts = erased(&own, person("ada@gone.example")).await;
    assert_eq!((counts["emails"], counts["calls"], counts["companies, the address in them"]), (1, 0, 1), "{counts:?}");
    let reached = "select email is null and phone is null from companies where id = $1";
    assert!(world.value::<bool>(reached, &[&world.company]).await);
    let steps = "select string_agg(input ->> 'to', ',' order by position) from workflow_steps where tenant_id = $1";
    assert_eq!(world.value::<String>(steps, &[&world.company]).await, "bob@signed.example");
    for mark in ["sig@signed", "Sig@Signed", "partner@step", "da@gone", "Ada@Gone", "010-7788"] {
        assert_eq!(mentions(&world.db, &[mark.to_owned()]).await, BTreeMap::new(), "{mark}");
    }
    drop(world);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_shares_with_others_stays_theirs() {
    let own = OwnDatabase::new().await;
    let world = World::within(&own.admin, "Company").await;
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone)
        values ($1, $1, $2, 'A', 'B', $3, '+1 555 010 7788') returning id";
    let text = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body)
        values ($1, $1, $2, $3, 'inbound', 'received', '+15550107788', '+15550100000', 'Hello') returning conversation_id";
    let mut conversation = Uuid::nil();
    for email in ["he@shared.example", "she@shared.example"] {
        let id: Uuid = world.value(contact, &[&world.company, &world.admin.id, &email]).await;
        conversation = world.value(text, &[&world.company, &world.admin.id, &id]).await;
    }
    let mail = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
        values ($1, $1, $2, 'outbound', 'sent', 'sales@company.example', 'bob@else.example, He <he@shared.example>', 'S', 'B') returning id";
    let mail: Uuid = world.value(mail, &[&world.company, &world.admin.id]).await;

    let counts = erased(&own, person("he@shared.example")).await;
    assert_eq!((counts["sms_messages"], counts["conversations"], counts["emails"]), (1, 0, 0), "{counts:?}");
    let left = "select c.message_count = 1 and c.unread_count = 1 and m.conversation_id = c.id from conversations c, sms_messages m where c.id = $1";
    assert!(world.value::<bool>(left, &[&conversation]).await);
    let to: String = world.value("select to_email from emails where id = $1", &[&mail]).await;
    assert_eq!(to, "bob@else.example");
    let counts = erased(&own, person("she@shared.example")).await;
    assert_eq!((counts["sms_messages"], counts["conversations"]), (1, 1), "{counts:?}");
    erased(&own, person("bob@else.example")).await;
    assert_eq!(world.value::<i64>("select count(*) from emails", &[]).await, 0, "it is nobody else's any more");
    drop(world);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_without_an_address_goes_by_its_id() {
    let own = OwnDatabase::new().await;
    let world = World::within(&own.admin, "Company").await;
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone)
        values ($1, $1, $2, 'A', 'B', $3, '+1 555 010 7788') returning id";
    let (company, admin) = (world.company, world.admin.id);
    let nameless: Uuid = world.value(contact, &[&company, &admin, &""]).await;
    let named: Uuid = world.value(contact, &[&company, &admin, &"she@else.example"]).await;
    for theirs in [None, Some(named)] {
        let text = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body)
            values ($1, $1, $2, $3, 'inbound', 'received', '+15550107788', '+15550100000', 'Hello')";
        world.db.execute(text, &[&company, &admin, &theirs]).await.unwrap();
        let mail = "insert into emails (tenant_id, company_id, user_id, contact_id, direction, status, from_email, to_email, subject, body)
            values ($1, $1, $2, $3, 'outbound', 'draft', 'sales@company.example', '', 'S', 'B')";
        world.db.execute(mail, &[&company, &admin, &theirs]).await.unwrap();
    }
    let person = |id, options| Erase::Person { email: None, company: None, contact: Some(id), options };
    let refused = erase::run(&own.admin, &person(named, NOW), &own.store()).await.unwrap_err().to_string();
    assert!(refused.contains("she@else.example"), "{refused}");
    let dry = erased(&own, person(nameless, DRY)).await;
    let counts = erased(&own, person(nameless, NOW)).await;
    for counts in [dry, counts] {
        let of = ["contacts", "sms_messages", "conversations", "emails"].map(|table| counts[table]);
        assert_eq!(of, [1, 1, 0, 0], "{counts:?}");
    }
    assert!(erase::run(&own.admin, &person(nameless, NOW), &own.store()).await.is_err());
    assert_eq!(world.value::<i64>("select count(*) from emails", &[]).await, 2);
    drop(world);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_around_an_address_are_none_of_it() {
    let own = OwnDatabase::new().await;
    let world = World::within(&own.admin, "Company").await;
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, $1, $2, 'A', 'B', $3) returning id";
    let mut blank = Uuid::nil();
    for email in ["blank@gone.example", " Blank@Gone.example\t", "\u{a0}blank@gone.example\r\n", "x blank@gone.example"]
    {
        let id: Uuid = world.value(contact, &[&world.company, &world.admin.id, &email]).await;
        blank = if email.starts_with(' ') { id } else { blank };
    }
    let reached = "update companies set email = ' Blank@gone.example ' where id = $1";
    world.db.execute(reached, &[&world.company]).await.unwrap();
    let by_id = Erase::Person { email: None, company: None, contact: Some(blank), options: NOW };
    let refused = erase::run(&own.admin, &by_id, &own.store()).await.unwrap_err().to_string();
    assert!(refused.ends_with(": ringfence erase person blank@gone.example"), "{refused}");
    let counts = erased(&own, person(" Blank@gone.example")).await;
    assert_eq!((counts["contacts"], counts["companies, the address in them"]), (3, 1), "{counts:?}");
    let left: String = world.value("select string_agg(email, ',') from contacts", &[]).await;
    assert_eq!(left, "x blank@gone.example", "a part of an address is nobody");
    assert!(erase::run(&own.admin, &person("blank@gone.example"), &own.store()).await.is_err());
    drop(world);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_goes_whose_users_had_notifications_before_they_were_in_it() {
    let own = OwnDatabase::new().await;
    let world = World::within(&own.admin, "Company").await;
    let lone = add_person(&world.db, "lone", "Regular User", None).await;
    let note =
        "insert into notifications (tenant_id, company_id, user_id, title, message) values ($1, null, $1, 'T', 'M')";
    world.db.execute(note, &[&lone.id]).await.unwrap();
    let in_company = "select count(*) from notifications where tenant_id = $1 and company_id is null";
    world.db.execute("select app.assign_company($1, $2)", &[&lone.id, &world.company]).await.unwrap();
    assert_eq!(world.value::<i64>(in_company, &[&world.company]).await, 1, "it follows its user");
    // The migration finds a row that an earlier version left behind.
    let behind = "update notifications set tenant_id = user_id where user_id = $1";
    world.db.execute(behind, &[&lone.id]).await.unwrap();
    let migration = include_str!("../../migrations/V0073__what_follows_a_user.sql");
    let mends = &migration[migration.find("set role ringfence_platform").unwrap()..];
    world.db.batch_execute(mends).await.unwrap();
    assert_eq!(world.value::<i64>(in_company, &[&world.company]).await, 1);
    let company = Erase::Company { company: world.name.clone(), options: NOW };
    erased(&own, company).await;
    assert_eq!(world.value::<i64>("select count(*) from companies", &[]).await, 0);
    drop(world);
    own.drop().await;
}

/// Nobody's role prevents their erasure; the command says what is to be done then.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_without_an_admin_or_a_company_is_named() {
    let own = OwnDatabase::new().await;
    let (acme, other) = (World::within(&own.admin, "Acme").await, World::within(&own.admin, "Other").await);
    let run = async |what: Erase| erase::run(&own.admin, &what, &own.store()).await.unwrap();
    let erased = run(person(&acme.admin.email)).await;
    assert_eq!(erased.without_admin, [acme.name.as_str()]);
    assert!(erased.summary().contains("ringfence user assign"), "{}", erased.summary());
    let erased = run(person(&other.member.email)).await;
    assert!(erased.without_admin.is_empty() && erased.summary().is_empty(), "{erased:?}");
    // The last super admin who can log in.
    let [first, second] = [acme.super_admin().await, acme.super_admin().await];
    acme.db.execute("update users set status = 'suspended' where id = $1", &[&second.id]).await.unwrap();
    let erased = run(person(&first.email)).await;
    assert!(erased.last_super_admin && erased.summary().contains("ringfence super-admin"), "{}", erased.summary());
    acme.db.execute("update users set status = 'active' where id = $1", &[&second.id]).await.unwrap();
    let third = acme.super_admin().await;
    assert!(!run(person(&third.email)).await.last_super_admin);
    // No users are left who would need an admin.
    assert!(run(person(&other.admin.email)).await.without_admin.is_empty());

    let [one, both] = ["one", "both"].map(|start| format!("{start}_{}", Uuid::new_v4().simple()));
    let add = "select app.add_operator($1::text::name, $2)";
    acme.db.execute(add, &[&one, &vec![&acme.name]]).await.unwrap();
    acme.db.execute(add, &[&both, &vec![&acme.name, &other.name]]).await.unwrap();
    for options in [DRY, NOW] {
        let erased = run(Erase::Company { company: acme.name.clone(), options }).await;
        assert_eq!(erased.operators, [one.as_str()]);
    }
    let listed = ringfence(&own, &["operator", "list"]).output().unwrap();
    let listed = text(&listed.stdout);
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line(&one).ends_with("no company"), "{listed}");
    assert!(line(&both).ends_with(&format!("{} ({}), to be chosen", other.name, other.company)), "{listed}");
    for name in [one, both] {
        acme.db.execute("select app.remove_operator($1::text::name)", &[&name]).await.unwrap();
    }
    drop((acme, other));
    own.drop().await;
}
