//! Odd rows of the old backend are imported with everything except what is odd.

use crate::support::{
    database::OwnDatabase,
    old_database::{Old, PASSWORD, add_file, bring, miscounted, try_to_bring},
    server::{config, start_server},
    world::Person,
};
use ringfence::{
    commands::erase::{self, Erase},
    config::{Config, Switch},
    db,
};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

/// Adds a row of the second user of the first company; returns its id.
async fn add(old: &Old, table: &str, row: Value) -> Uuid {
    let add = format!(
        "insert into {table} select r.* from jsonb_populate_record(null::{table}, jsonb_build_object('id', gen_random_uuid(),
           'owner_id', md5('user2')::uuid, 'user_id', md5('user2')::uuid, 'company_id', md5('company1')::uuid, 'created_at', '2025-01-01',
           'updated_at', '2025-01-01', 'is_active', true, 'is_deleted', false) || $1) r returning id"
    );
    old.db.query_one(&add, &[&row]).await.unwrap_or_else(|e| panic!("{e:?}")).get(0)
}

async fn add_deal(old: &Old, row: Value) -> Uuid {
    let ids = "select jsonb_build_object('pipeline_id', md5('pipeline1')::uuid, 'stage_id', md5('stage1')::uuid, 'title', 'Odd', 'value', 1, 'status', 'OPEN') || $1";
    add(old, "deals", old.db.query_one(ids, &[&row]).await.unwrap().get(0)).await
}

/// The report's lines about a row: action and reason.
fn told(old: &Old, id: Uuid) -> Vec<(String, String)> {
    let lines = old.report().into_iter().filter(|line| line[1] == id.to_string());
    lines.map(|[_, _, action, reason]| (action, reason)).collect()
}

fn says(action: &str, reason: &str) -> Vec<(String, String)> {
    vec![(action.to_owned(), reason.to_owned())]
}

async fn value(db: &Client, expression: &str, table: &str, id: Uuid) -> Value {
    let value = format!("select to_jsonb({expression}) from {table} where id = $1");
    db.query_one(&value, &[&id]).await.unwrap_or_else(|e| panic!("{value}: {e:?}")).get::<_, Option<Value>>(0).into()
}

/// A user of the first company, logged in.
async fn member(own: &OwnDatabase) -> Person {
    let nobody = Person::nobody().at(&start_server(Config { worker: Switch::Off, ..config() }, &own.api));
    let login = json!({"email": "user2@old.example", "password": PASSWORD});
    let login = nobody.post("/api/auth/login", login).await.expect(200);
    nobody.with_token(login["access_token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_conversation_is_found_however_its_number_was_written() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let conversation = async |number: &str, status: &str, month: i32| {
        let row = json!({"to_number": number, "from_twilio_number": "1 888 000 0001", "conversation_status": status,
            "last_message_at": format!("2024-0{month}-01")});
        add(&old, "user_conversations", row).await
    };
    let blocked = conversation("(555) 777-0001", "BLOCKED", 1).await;
    let newer = conversation("5557770001", "ACTIVE", 2).await;
    let short = conversation("22395", "ACTIVE", 2).await;
    for (from, sid) in [("5557770001", "SM-odd-1"), ("+1 (555) 777-0001", "SM-odd-2")] {
        let text = json!({"direction": "INBOUND", "status": "RECEIVED", "from_address": from, "to_address": "+18880000001", "body": "Hi", "twilio_sid": sid});
        add(&old, "sms_messages", text).await;
    }
    let later = json!({"to_address": "+15557770002", "from_address": "1-888-000-0001", "body": "Later", "scheduled_at": "2099-01-01"});
    let later = add(&old, "scheduled_sms", later).await;
    old.db
        .execute("update phone_numbers set phone_number = '(888) 000-0001' where id = md5('number1')::uuid", &[])
        .await
        .unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    assert_eq!(value(&new, "to_number", "conversations", newer).await, "+15557770001");
    assert_eq!(value(&new, "from_twilio_number", "conversations", newer).await, "+18880000001");
    assert_eq!(value(&new, "message_count", "conversations", newer).await, 2);
    assert_eq!(value(&new, "from_address", "scheduled_sms", later).await, "+18880000001");
    let number = "select phone_number from phone_numbers where id = md5('number1')::uuid";
    assert_eq!(new.query_one(number, &[]).await.unwrap().get::<_, &str>(0), "+18880000001");
    assert_eq!(told(&old, blocked), says("left out", "another row has its unique key conversations_tenant_number_key"));
    assert_eq!(told(&old, newer), says("changed", "another conversation with the number was blocked: it is"));
    let odd = "to_number is no number in E.164, and none can be made of it: it stays as it is";
    assert_eq!(told(&old, short), says("noted", odd));
    assert_eq!(miscounted(&new).await, 0);
    let started =
        member(&own).await.post("/api/conversations/start", json!({"to_number": "(555) 777-0001"})).await.expect(200);
    assert_eq!([&started["id"], &started["conversation_status"]], [&json!(newer), &json!("blocked")]);
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_that_were_imported_as_they_were_written_are_mended() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    bring(&own, &old.options()).await;
    let mut new = db::connect(&own.admin).await.unwrap();
    let whose = "select 'user2'::text, md5('company1')::uuid as tenant_id, md5('user2')::uuid as user_id";
    let written = format!(
        "insert into conversations (id, tenant_id, company_id, user_id, to_number, from_twilio_number, conversation_status, last_message_at)
           select md5(n)::uuid, tenant_id, case when n not like 'mine%' then tenant_id end, user_id, number, '8880000001', status, '2024-01-01'
           from ({whose}) w, (values ('raw', '5557770001', 'blocked'), ('rawer', '(555) 777-0001', 'active'), ('found', '+15557770001', 'active'),
             ('alone', '5557770002', 'inactive'), ('mine', '5557770001', 'active'), ('mine too', '555 777 0001', 'blocked')) c (n, number, status);
         insert into sms_messages (id, tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
           select md5('text' || number)::uuid, tenant_id, tenant_id, user_id, 'inbound', 'received', number, '+18880000001', 'Hi'
           from ({whose}) w, unnest(array['5557770001', '(555) 777-0001', '+15557770001']) number;
         insert into sms_messages (id, tenant_id, company_id, user_id, direction, status, from_address, to_address, body)
           select md5('historical')::uuid, tenant_id, null, user_id, 'inbound', 'received', '555-777-0001', '+18880000001', 'Hi' from ({whose}) w;
         update phone_numbers set phone_number = '8880000001' where id = md5('number1')::uuid;
         update files set object_key = null, size = 9223372036854775807 where id = (select id from files where not is_deleted and company_id is not null limit 1)"
    );
    new.batch_execute("update files set size = null; update companies set storage_bytes = 0").await.unwrap();
    new.batch_execute(&written).await.unwrap_or_else(|e| panic!("{e:?}"));
    let migration = include_str!("../../migrations/V0093__as_numbers_are_dialled.sql");
    let mend = &migration[migration.find("-- What was imported before").unwrap()..];
    new.batch_execute(mend).await.unwrap_or_else(|e| panic!("{e:?}"));
    new.batch_execute("reset role").await.unwrap();
    let of = async |name: &str| -> (String, String, bool, i32) {
        let of = "select to_number, conversation_status, is_deleted, message_count from conversations where id = md5($1)::uuid and from_twilio_number = '+18880000001'";
        let row = new.query_one(of, &[&name]).await.unwrap();
        (row.get(0), row.get(1), row.get(2), row.get(3))
    };
    assert_eq!(of("found").await, ("+15557770001".into(), "blocked".into(), false, 3));
    assert_eq!(of("alone").await, ("+15557770002".into(), "inactive".into(), false, 0));
    assert!(of("raw").await.2 && of("rawer").await.2);
    let mine = [of("mine").await, of("mine too").await];
    let kept: Vec<_> = mine.into_iter().filter(|c| !c.2).collect();
    assert_eq!(kept, [("+15557770001".into(), "blocked".into(), false, 0)], "of its user, beside the company's");
    let texts = "select count(*) from sms_messages where conversation_id = md5('found')::uuid";
    assert_eq!(new.query_one(texts, &[]).await.unwrap().get::<_, i64>(0), 3);
    let number = "select phone_number from phone_numbers where id = md5('number1')::uuid";
    assert_eq!(new.query_one(number, &[]).await.unwrap().get::<_, &str>(0), "+18880000001");
    assert_eq!(new.query_one("select max(storage_bytes) from companies", &[]).await.unwrap().get::<_, i64>(0), 0);
    // A historical text joins it when it gets its company.
    let tx = new.transaction().await.unwrap();
    let given = "update sms_messages set company_id = tenant_id where id = md5('historical')::uuid";
    tx.execute(given, &[]).await.unwrap();
    let give = "select id = md5('found')::uuid from app.give_conversations(array[md5('historical')::uuid])";
    assert!(tx.query_one(give, &[]).await.unwrap().get::<_, bool>(0));
    tx.rollback().await.unwrap();
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ornament_costs_a_row_nothing_else() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let fields = "custom_fields is no object: one with it below the name custom_fields";
    let (empty, text) = ("custom_fields is empty, and no object: it has none", "the tags are a text: a list of it");
    let none = "the tags are no list: it has none";
    let mut rows: Vec<(&str, Uuid, Value, &str)> = vec![];
    for (table, ornament, kept, reason) in [
        ("deals", json!({"custom_fields": [], "tags": ["a", 5]}), json!([{}, ["a", 5]]), empty),
        ("deals", json!({"custom_fields": {"a": 1}, "tags": "vip"}), json!([{"a": 1}, ["vip"]]), text),
        ("deals", json!({"custom_fields": null, "tags": {}}), json!([{}, []]), none),
        ("deals", json!({"custom_fields": [1], "tags": null}), json!([{"custom_fields": [1]}, []]), fields),
        ("activities", json!({"custom_fields": ""}), json!([{}]), empty),
        ("activities", json!({"custom_fields": "x"}), json!([{"custom_fields": "x"}]), fields),
    ] {
        let id = match table {
            "deals" => add_deal(&old, ornament).await,
            _ => {
                let activity = json!({"type": "NOTE", "subject": "Odd", "status": "PENDING", "deal_id": rows[0].1});
                let (Value::Object(mut all), Value::Object(odd)) = (activity, ornament) else { unreachable!() };
                all.extend(odd);
                add(&old, table, all.into()).await
            }
        };
        rows.push((table, id, kept, reason));
    }
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    for (table, id, kept, reason) in &rows {
        let ornaments = match *table {
            "deals" => "jsonb_build_array(custom_fields, tags)",
            _ => "jsonb_build_array(custom_fields)",
        };
        assert_eq!(value(&new, ornaments, table, *id).await, *kept);
        assert_eq!(told(&old, *id), says("changed", reason));
    }
    assert_eq!(value(&new, "deal_id", "activities", rows[4].1).await, json!(rows[0].1));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_a_second_contact_of_an_address_names_the_first() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let contact = async |email: &str, more: Value| {
        let (Value::Object(mut row), Value::Object(more)) =
            (json!({"first_name": "Twin", "last_name": "Twin", "email": email, "status": "NEW"}), more)
        else {
            unreachable!()
        };
        row.extend(more);
        add(&old, "contacts", row.into()).await
    };
    let first = contact("Twin@old.example", json!({"created_at": "2024-01-01"})).await;
    let second = contact("twin@OLD.example ", json!({})).await;
    let company: Uuid = old.db.query_one("select md5('company2')::uuid", &[]).await.unwrap().get(0);
    let user: Uuid = old.db.query_one("select md5('user8')::uuid", &[]).await.unwrap().get(0);
    let elsewhere = contact("twin@old.example", json!({"company_id": company, "owner_id": user})).await;
    let nameless = [contact("", json!({"created_at": "2024-01-01"})).await, contact("", json!({})).await];
    let deal = add_deal(&old, json!({"contact_id": second})).await;
    let of_nameless = add_deal(&old, json!({"contact_id": nameless[1]})).await;
    let outcomes = bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let reason = format!("another contact of the company has its address: merged into {first}");
    assert_eq!(told(&old, second), says("left out", &reason));
    assert!(outcomes.summary(&old.options()).contains("has its address: merged into …"));
    assert_eq!(value(&new, "contact_id", "deals", deal).await, json!(first));
    assert_eq!(
        value(&new, "email", "contacts", elsewhere).await,
        "twin@old.example",
        "another company's is another one"
    );
    assert_eq!(value(&new, "contact_id", "deals", of_nameless).await, json!(null), "no address is nobody's");

    // Also when the first one was imported earlier.
    let late = add(
        &old,
        "quotes",
        json!({"quote_number": "Late", "title": "Late", "amount": 1, "status": "DRAFT", "client_id": second}),
    )
    .await;
    bring(&own, &old.options()).await;
    assert_eq!(value(&new, "client_id", "quotes", late).await, json!(first));
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_deleted_folder_comes_to_the_top() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let folder = async |name: &str, parent: Option<Uuid>, is_deleted: bool| {
        add(&old, "folders", json!({"name": name, "parent_id": parent, "is_deleted": is_deleted})).await
    };
    let gone = folder("Gone", None, true).await;
    let gone_too = folder("Gone, too", Some(gone), true).await;
    let alive = folder("Alive", Some(gone_too), false).await;
    let below = folder("Below", Some(alive), false).await;
    let file = async |folder: Uuid, is_deleted: bool| {
        let row = json!({"name": "F", "original_name": "F", "folder_id": folder, "is_deleted": is_deleted});
        add(&old, "files", row).await
    };
    let (lost, deleted, found) = (file(gone, false).await, file(gone, true).await, file(alive, false).await);
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    assert_eq!(told(&old, alive), says("detached", "parent_id is a deleted folder: it is at the top now"));
    let at_the_top = says("detached", "folder_id is a deleted folder: it is at the top now");
    assert!(told(&old, lost).contains(&at_the_top[0]), "{:?}", told(&old, lost));
    for (table, id, column, there) in [
        ("folders", alive, "parent_id", None),
        ("folders", below, "parent_id", Some(alive)),
        ("folders", gone_too, "parent_id", Some(gone)),
        ("files", lost, "folder_id", None),
        ("files", deleted, "folder_id", Some(gone)),
        ("files", found, "folder_id", Some(alive)),
    ] {
        assert_eq!(value(&new, column, table, id).await, json!(there), "{table} {column}");
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_read_is_missing_or_named() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    old.db
        .batch_execute(
            "alter table activities alter custom_fields type json; alter table deals alter custom_fields type json;
        alter table emails alter open_count type bigint; alter table workflows alter max_executions type bigint",
        )
        .await
        .unwrap();
    let activity = add(&old, "activities", json!({"type": "NOTE", "subject": "Odd", "status": "PENDING"})).await;
    let zero = r#"update activities set custom_fields = '{"a": "x\u0000y\\u0000\\\u0000z"}' where id = $1"#;
    assert_eq!(old.db.execute(zero, &[&activity]).await.unwrap(), 1);
    let quote = json!({"quote_number": "Odd", "title": "Odd", "amount": 1, "status": "DRAFT", "sent_at": "5000000-01-01", "accepted_at": "infinity"});
    let quote = add(&old, "quotes", quote).await;
    let mail = json!({"subject": "Odd", "from_email": "a@b.example", "to_email": "c@d.example", "status": "SENT", "open_count": 3_000_000_000_u32});
    let mail = add(&old, "emails", mail).await;
    let workflow = json!({"name": "Odd", "status": "INACTIVE", "trigger_type": "DEAL_WON", "actions": [], "max_executions": 3_000_000_000_u32});
    let workflow = add(&old, "workflows", workflow).await;
    let deal = add_deal(&old, json!({})).await;
    let half = r#"update deals set custom_fields = '{"a": "\ud800"}' where id = $1"#;
    assert_eq!(old.db.execute(half, &[&deal]).await.unwrap(), 1);
    for dry_run in [true, false] {
        let options = ringfence::commands::import::Options { dry_run, ..old.options() };
        let said = format!("{:#}", try_to_bring(&own, &options).await.unwrap_err());
        assert!(said.starts_with(&format!("the table deals: custom_fields of {deal}: ")), "{said}");
    }
    old.db.execute("update deals set custom_fields = null where id = $1", &[&deal]).await.unwrap();
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    assert_eq!(value(&new, "custom_fields", "activities", activity).await, json!({"a": "xy\\u0000\\z"}));
    assert_eq!(value(&new, "jsonb_build_array(sent_at, accepted_at)", "quotes", quote).await, json!([null, null]));
    assert_eq!(value(&new, "open_count", "emails", mail).await, 0);
    assert_eq!(value(&new, "max_executions", "workflows", workflow).await, json!(null));
    let number = |column: &str| says("changed", &format!("{column} is too large a number: as if it were missing"));
    assert_eq!((told(&old, mail), told(&old, workflow)), (number("open_count"), number("max_executions")));
    let times: Vec<String> = told(&old, quote).into_iter().map(|(_, reason)| reason).collect();
    let time = |column: &str| format!("{column} is no time of a calendar: as if it were missing");
    assert_eq!(times, [time("accepted_at"), time("sent_at")]);
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_no_file_has_takes_no_room() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let large = add_file(&old, 1, "uploads/large.pdf", i64::MAX).await;
    let good = add_file(&old, 1, "uploads/good.pdf", 7).await;
    let negative = add_file(&old, 1, "uploads/negative.pdf", -1).await;
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    for (file, size) in [(large, json!(null)), (good, json!(7)), (negative, json!(null))] {
        assert_eq!(value(&new, "size", "files", file).await, size);
    }
    for file in [large, negative] {
        let size = says("changed", "the size is outside 0 to 1e12 bytes: it has none");
        assert!(told(&old, file).contains(&size[0]), "{:?}", told(&old, file));
    }
    member(&own).await.upload("/api/files/upload", "new.txt", "text/plain", "new").await.expect(200);
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn companies_that_nobody_gets_into_are_told() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let status =
        "update companies set subscription_status = case id when md5('company1')::uuid then 'EXPIRED' else 'paused' end
        where id in (md5('company1')::uuid, md5('company2')::uuid)";
    old.db.execute(status, &[]).await.unwrap();
    bring(&own, &old.options()).await;
    for (company, status, subscription) in
        [("company1", "active", "expired"), ("company2", "active", "suspended"), ("company3", "suspended", "active")]
    {
        let id: Uuid = old.db.query_one("select md5($1)::uuid", &[&company]).await.unwrap().get(0);
        let blocked = format!(
            "the status is {status} and the subscription {subscription}: nobody gets in until a super admin sets the status to active"
        );
        assert!(told(&old, id).contains(&says("noted", &blocked)[0]), "{company}: {:?}", told(&old, id));
    }
    assert_eq!(old.report().iter().filter(|line| line[3].contains("nobody gets in")).count(), 4, "and the closed one");
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_behind_a_name_is_the_address() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let recipient = async |email: &str, unsubscribed: bool| {
        let campaign: Uuid = old.db.query_one("select md5('campaign1')::uuid", &[]).await.unwrap().get(0);
        let row = json!({"campaign_id": campaign, "recipient_email": email, "unsubscribed": unsubscribed});
        add(&old, "bulk_email_analytics", row).await
    };
    for wants_none in [
        "Ned <Ned@odd.example>",
        "mailto:mia@odd.example",
        "max@odd.example\n",
        "umlaut@xn--mnchen-3ya.odd.example",
        "Umlaut@München.odd.example",
    ] {
        recipient(wants_none, true).await;
    }
    let nobody = recipient("nobody at odd", true).await;
    let contact = json!({"first_name": "Er", "last_name": "A", "email": "Er <Er@odd.example>", "status": "NEW"});
    let erased = [
        ("contacts", add(&old, "contacts", contact).await),
        ("campaign_recipients", recipient("Er A <er@odd.example>", false).await),
        ("campaign_recipients", recipient("er@odd.example\n", false).await),
    ];
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let suppressed = "select array_agg(address order by address) from suppressions where address like '%odd.example'";
    let suppressed: Vec<String> = new.query_one(suppressed, &[]).await.unwrap().get(0);
    assert_eq!(suppressed, ["max@odd.example", "mia@odd.example", "ned@odd.example", "umlaut@münchen.odd.example"]);
    let no_address = "who wants no mail is no address: it is kept, and keeps nobody from mail";
    assert!(told(&old, nobody).contains(&says("changed", no_address)[0]), "{:?}", told(&old, nobody));
    assert_eq!(old.report().iter().filter(|line| line[3] == no_address).count(), 1);

    // Erasing by this address works, and the rows do not come back.
    let options = erase::Options { dry_run: false, yes: true };
    let person = Erase::Person { email: Some("er@odd.example".into()), company: None, contact: None, options };
    erase::run(&own.admin, &person, &own.store()).await.unwrap_or_else(|e| panic!("{e:?}"));
    for again in [false, true] {
        if again {
            bring(&own, &old.options()).await;
        }
        for (table, id) in &erased {
            let there = format!("select count(*) from {table} where id = $1");
            assert_eq!(new.query_one(&there, &[id]).await.unwrap().get::<_, i64>(0), 0, "{table} {again}");
        }
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_conversation_that_is_blocked_blocks_the_one_that_is_here() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let conversation = async |number: &str, status: &str, last: Value| {
        let row = json!({"to_number": number, "from_twilio_number": "+18880000001", "conversation_status": status, "last_message_at": last});
        add(&old, "user_conversations", row).await
    };
    let spoken = conversation("(415) 555-0101", "ACTIVE", json!("2025-06-01")).await;
    conversation("+14155550101", "ACTIVE", Value::Null).await;
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let here = async || -> (Uuid, String) {
        let here = "select id, conversation_status from conversations where to_number = '+14155550101'";
        let row = new.query_one(here, &[]).await.unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!(here().await, (spoken, "active".to_owned()), "the one in which it was last spoken");
    conversation("415-555-0101", "BLOCKED", json!("2025-07-01")).await;
    bring(&own, &old.options()).await;
    assert_eq!(here().await, (spoken, "blocked".to_owned()));
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// A deal is in its stage since it was made, where no calendar has the time at which it came into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deal_with_an_odd_time_comes_over() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let odd = |column: &str| says("changed", &format!("{column} is no time of a calendar: the default"));
    let mut deals = vec![];
    for (times, told) in [
        (json!({"stage_entered_at": "infinity"}), odd("stage_entered_at")),
        (json!({"created_at": "-infinity"}), odd("created_at")),
        (json!({"created_at": "infinity", "stage_entered_at": "2025-02-03"}), odd("created_at")),
        (json!({}), vec![]),
    ] {
        deals.push((add_deal(&old, times).await, told));
    }
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    let mut since = vec![];
    for (id, reasons) in &deals {
        assert_eq!(told(&old, *id), *reasons);
        let is_new = "jsonb_build_array(stage_entered_at = created_at, created_at > now() - interval '1 day')";
        since.push(value(&new, is_new, "deals", *id).await);
    }
    assert_eq!(since, [json!([true, false]), json!([true, true]), json!([false, true]), json!([true, false])]);
    drop(new);
    own.drop().await;
    old.drop().await;
}

/// The data of a run is an object (contract: workflows).
#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_a_run_is_an_object() {
    let (old, own) = (Old::new(1).await, OwnDatabase::new().await);
    let workflow = json!({"name": "Odd", "status": "INACTIVE", "trigger_type": "DEAL_WON", "actions": []});
    let workflow = add(&old, "workflows", workflow).await;
    let (empty, odd) = (
        "trigger_data is empty, and no object: it has none",
        "trigger_data is no object: one with it below the name trigger_data",
    );
    let mut runs = vec![];
    for (data, kept, reasons) in [
        (json!({"a": 1}), json!({"a": 1}), vec![]),
        (json!(["a", 1]), json!({"trigger_data": ["a", 1]}), says("changed", odd)),
        (json!([]), json!({}), says("changed", empty)),
        (json!(null), json!({}), vec![]),
    ] {
        let run = json!({"workflow_id": workflow, "status": "success", "trigger_data": data});
        runs.push((add(&old, "workflow_executions", run).await, kept, reasons));
    }
    bring(&own, &old.options()).await;
    let new = db::connect(&own.admin).await.unwrap();
    for (id, kept, reasons) in runs {
        assert_eq!(value(&new, "trigger_data", "workflow_executions", id).await, kept);
        assert_eq!(told(&old, id), reasons);
    }
    drop(new);
    own.drop().await;
    old.drop().await;
}
