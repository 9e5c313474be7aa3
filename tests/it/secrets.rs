//! Rotates the key of secrets while servers run.

use crate::support::{
    command::{configured, ringfence, run, serve, text},
    database::{OwnDatabase, until, waiting_for_locks},
    server::config,
    twilio::{Account, mails, number},
    world::{World, answer, workflow},
};
use ringfence::{
    App,
    config::{Config, Switch},
    db::{self, Db},
    seal::Sealer,
    server,
};
use serde_json::json;
use std::{collections::BTreeMap, fs::File};
use uuid::Uuid;

fn key(byte: &str) -> String {
    byte.repeat(32)
}

/// Settings of a server with these keys.
fn settings(keys: &[&str]) -> Config {
    Config { secret_key: keys.iter().map(|k| key(k)).collect(), worker: Switch::Off, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_secrets_is_changed_step_by_step() {
    let own = OwnDatabase::new().await;
    let rotate = |keys: &[&str], more: &[&str]| {
        let mut command = ringfence(&own, &[&["secrets", "rotate"], more].concat());
        let keys: Vec<String> = keys.iter().map(|k| key(k)).collect();
        command.env("RINGFENCE_SECRET_KEY", keys.join(",")).env("RINGFENCE_DATA", env!("CARGO_TARGET_TMPDIR"));
        let output = run(command, "");
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let acme = World::served(&own, settings(&["0a"])).await;
    Account::of(&acme).await;
    let company_secrets = "select count(*) from app.company_secrets";
    let credentials = acme.value::<i64>(company_secrets, &[]).await;
    assert!(credentials > 0);
    let contact = json!({"first_name": "Ada", "last_name": "L", "email": "ada@x.example"});
    let once = async |base: &str| {
        let request = acme.admin.at(base).request("POST", "/api/contacts/").header("idempotency-key", "one");
        answer(request.json(&contact)).await
    };
    let base = crate::support::server::start_server(settings(&["0a"]), &own.api);
    let first = once(&base).await;
    assert_eq!(first.status, 200, "{}", first.text);

    // Sealed values by place, with the time at which credentials were entered.
    let sealed = async || {
        let all = "select company_id || name as place, sealed, updated_at::text from app.company_secrets
            union all select id || 'request', request, '' from app.idempotency_keys
            union all select id || 'answer', body, '' from app.idempotency_keys";
        let rows = acme.db.query(all, &[]).await.unwrap();
        rows.iter()
            .map(|r| (r.get::<_, String>(0), (r.get::<_, Vec<u8>>(1), r.get::<_, String>(2))))
            .collect::<BTreeMap<_, _>>()
    };
    let before = sealed().await;
    let audited: i64 = acme.value("select count(*) from audit_log", &[]).await;

    // Without the key under which they are sealed, the command does nothing, and says so.
    let (fine, said) = rotate(&["0b"], &[]);
    assert!(!fine && said.contains("cannot be opened") && !said.contains(&key("0b")), "{said}");
    assert_eq!(sealed().await, before);
    let (fine, said) = rotate(&["0b", "0a"], &["--dry-run"]);
    let counted = format!("{credentials} providers' credentials, 1 requests with an Idempotency-Key, 1 their answers");
    assert!(fine && said.contains("Would be sealed anew") && said.contains(&counted), "{said}");
    assert_eq!(sealed().await, before);

    let (fine, said) = rotate(&["0b", "0a"], &[]);
    assert!(fine && said.contains(&counted) && said.contains("Nothing is sealed under an older key"), "{said}");
    let newest = Sealer::new(&[key("0b")]).unwrap().newest();
    let after = sealed().await;
    for (place, (value, entered)) in &after {
        assert!(value.starts_with(&newest), "{place}");
        assert_eq!(*entered, before[place].1, "{place} was not entered anew");
    }
    assert_eq!(after.len(), before.len());
    let still: i64 = acme.value("select count(*) from audit_log", &[]).await;
    assert_eq!(still, audited, "nobody changed anything");
    let (fine, said) = rotate(&["0b", "0a"], &[]);
    assert!(fine && said.contains("0 providers' credentials, 0 requests"), "{said}");
    assert_eq!(sealed().await, after);

    // A server with only the new key sends, and knows the stored responses.
    let base = crate::support::server::start_server(settings(&["0b"]), &own.api);
    let again = once(&base).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    acme.admin.at(&base).post("/api/twilio-settings/verify", json!({})).await.expect(200);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_writes_meanwhile_stays() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let company = "insert into companies (name) values ('Acme') returning id";
    let company: Uuid = admin.query_one(company, &[]).await.unwrap().get(0);
    let (old, both) = (Sealer::new(&[key("0a")]).unwrap(), Sealer::new(&[key("0b"), key("0a")]).unwrap());
    let insert = "insert into app.company_secrets (company_id, name, sealed, last_four) values ($1, $2, $3, '')";
    for n in 0..500 {
        let name = format!("secret {n:03}");
        let (sealed, _) = old.seal(company, &name, &format!("value {n}")).unwrap().unwrap();
        admin.execute(insert, &[&company, &name, &sealed]).await.unwrap();
    }
    // A server that was not restarted still writes under the old key; it holds a row that the rotation wants, and
    // releases it with another value.
    let mut server = db::connect(&own.admin).await.unwrap();
    let tx = server.transaction().await.unwrap();
    let (other, _) = old.seal(company, "secret 250", "another value").unwrap().unwrap();
    let write = "update app.company_secrets set sealed = $2 where company_id = $1 and name = 'secret 250'";
    tx.execute(write, &[&company, &other]).await.unwrap();
    let command = {
        let mut command = ringfence(&own, &["secrets", "rotate"]);
        command.env("RINGFENCE_SECRET_KEY", format!("{},{}", key("0b"), key("0a")));
        command.env("RINGFENCE_DATA", env!("CARGO_TARGET_TMPDIR"));
        command
    };
    let running = std::thread::spawn(move || run(command, ""));
    until("the run waits for the row", async || waiting_for_locks(&admin).await > 0).await;
    tx.commit().await.unwrap();
    let output = running.join().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout) + &text(&output.stderr));
    let rows = admin.query("select name, sealed from app.company_secrets order by name", &[]).await.unwrap();
    for (n, row) in rows.iter().enumerate() {
        let (name, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
        assert!(sealed.starts_with(&both.newest()), "{name}");
        let value = if n == 250 { "another value".into() } else { format!("value {n}") };
        assert_eq!(both.open(company, &name, &sealed).unwrap(), value);
    }
    drop((admin, server));
    own.drop().await;
}

/// A worker that was not restarted with the newest key fails no job: another worker can do it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_the_key_leaves_the_work_to_others() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, settings(&["0a"])).await;
    let account = Account::of(&acme).await;
    let key = format!("SG.{}", Uuid::new_v4().simple());
    let mail = json!({"sendgrid_api_key": key, "sendgrid_from_email": "sales@acme.example"});
    acme.admin.put("/api/twilio-settings/", mail).await.expect(200);
    for action in [
        json!({"type": "send_sms", "config": {"to": number(), "body": "Hi"}}),
        json!({"type": "send_email", "config": {"to": "ada@x.example", "subject": "S", "body": "B"}}),
        json!({"type": "webhook", "config": {"url": "https://receiver.example/"}}),
    ] {
        workflow(&acme.admin, "deal_created", json!([action])).await;
    }
    // An address that is not public, which is known at once.
    let nowhere = "update workflows set actions = replace(actions::text, 'receiver.example', '127.0.0.1')::jsonb";
    acme.db.execute(nowhere, &[]).await.unwrap();
    acme.admin.post("/api/deals/", json!({"title": "D", "value": 1, "stage_id": "Lead"})).await.expect(200);
    let campaign = json!({"campaign_name": "Spring", "subject": "S", "body": "B", "recipients": ["ada@x.example", "bob@x.example"]});
    let campaign = acme.member.post("/api/email-campaigns/", campaign).await.expect(201);
    let send = format!("/api/email-campaigns/{}/send", campaign["id"].as_str().unwrap());
    acme.member.send("POST", &send, None).await.expect(200);
    let text =
        "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        values ($1, $1, $2, $3, $4, 'Text', now() - interval '1 minute')";
    acme.db.execute(text, &[&acme.company, &acme.member.id, &account.number, &number()]).await.unwrap();

    let work = |keys: &[&str]| {
        let app = App::new(Db::new(&own.api, 4).unwrap(), settings(keys)).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        (stop, tokio::spawn(server::work(app, async move { drop(stopped.await) })))
    };
    let (stop, worker) = work(&["0b"]);
    let left = "select (select count(*) from workflow_steps where status = 'retrying')
        + (select count(*) from jobs where kind in ('campaign', 'scheduled_sms') and run_at > now() + interval '4 minutes' and attempts = 0)";
    until("all of it is left to others", async || acme.value::<i64>(left, &[]).await == 5).await;
    drop(stop);
    worker.await.unwrap().unwrap();
    assert!(account.asked().is_empty() && mails(&key).is_empty());
    let failed = "select (select count(*) from campaigns where status <> 'sending') + (select count(*) from scheduled_sms where is_cancelled)
        + (select count(*) from workflow_executions where status <> 'running')";
    assert_eq!(acme.value::<i64>(failed, &[]).await, 0);

    acme.db.execute("update jobs set run_at = now()", &[]).await.unwrap();
    let (stop, worker) = work(&["0a"]);
    let done = "select (select count(*) from campaigns where status = 'sent') + (select count(*) from scheduled_sms where is_sent)
        + (select count(*) from workflow_steps where status = 'success' or error_message like '%public%')";
    until("all of it is done", async || acme.value::<i64>(done, &[]).await == 5).await;
    drop(stop);
    worker.await.unwrap().unwrap();
    assert_eq!((account.asked().len(), mails(&key).len()), (2, 3));

    // A client gets an error, and may try another server.
    let other = acme.member.at(&crate::support::server::start_server(settings(&["0b"]), &own.api));
    let mail = json!({"to": "ada@x.example", "subject": "S", "body": "B"});
    let told = other.post("/api/emails/send", mail).await.detail(502);
    assert_eq!(told, "SendGrid's key cannot be read: enter it again in the settings");
    let told = other.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await.detail(502);
    assert_eq!(told, "Twilio's token cannot be read: enter it again in the settings");
    own.drop().await;
}

/// A server with another key works as far as it can, and says what it cannot open.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_opens_nothing_is_noticed_at_the_start_and_by_the_doctor() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, settings(&["0a"])).await;
    Account::of(&acme).await;
    let credentials: i64 = acme.value("select count(*) from app.company_secrets", &[]).await;
    let problem = format!("{credentials} of the {credentials} credentials of providers cannot be opened");
    let log = format!("{}/{}.log", env!("CARGO_TARGET_TMPDIR"), own.name);
    for (keys, opens) in [("0b", false), ("0b,0a", true)] {
        let keys = keys.split(',').map(key).collect::<Vec<_>>().join(",");
        let mut server = configured(&own, &["serve"]);
        server.env("RINGFENCE_SECRET_KEY", &keys).env("RUST_LOG", "error").stderr(File::create(&log).unwrap());
        let (mut served, base) = serve(&mut server);
        acme.admin.at(&base).get("/readyz").await.expect(200);
        served.kill().unwrap();
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(said.contains(&problem) && said.contains("ERROR"), !opens, "{said}");
        let mut doctor = ringfence(&own, &["doctor"]);
        doctor.env("RINGFENCE_SECRET_KEY", &keys);
        let told = run(doctor, "");
        let said = text(&told.stdout);
        assert_eq!(said.contains(&format!("PROBLEM credentials: {problem}")), !opens, "{said}");
        assert_eq!((told.status.success(), said.contains("ok      credentials")), (opens, opens), "{said}");
    }
    let told = run(ringfence(&own, &["doctor"]), "");
    assert!(told.status.success() && !text(&told.stdout).contains("credentials"), "{}", text(&told.stdout));
    std::fs::remove_file(log).unwrap();
    drop(acme);
    own.drop().await;
}
