//! Metrics: by route, never by company, and only on their own address.

use crate::support::{
    database::{OwnDatabase, until},
    metrics::{scrape, value},
    server::{config, free},
    twilio::with_key,
    world::{Person, World},
};
use ringfence::{
    App,
    config::{Config, Switch},
    db::Db,
    server,
};
use serde_json::json;
use tokio_postgres::error::SqlState;

/// A worker in its own process has metrics of its jobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_measured_too() {
    let own = OwnDatabase::new().await;
    let at = free();
    let app = App::new(Db::new(&own.api, 2).unwrap(), Config { metrics_listen: Some(at), ..config() }).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let working = tokio::spawn(server::work(app, async move { drop(stopped.await) }));
    until("it listens", async || reqwest::get(format!("http://{at}/metrics")).await.is_ok()).await;
    assert_eq!(value(&scrape(at).await, "ringfence_jobs_due"), 0.0);
    stop.send(()).unwrap();
    working.await.unwrap().unwrap();
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pool_queue_and_refusals_are_measured_without_a_company() {
    let own = OwnDatabase::new().await;
    let at = free();
    let config = Config { metrics_listen: Some(at), worker: Switch::Off, pool_size: Some(3), ..config() };
    let acme = World::served(&own, config).await;
    let quiet = scrape(at).await;
    assert!(!quiet.contains("/api/contacts"), "what did not happen is not told:\n{quiet}");
    assert_eq!(value(&quiet, "ringfence_jobs_due"), 0.0);
    assert_eq!(value(&quiet, "ringfence_jobs_oldest_due_seconds"), 0.0);

    acme.contact("Ada", "Lovelace").await;
    for path in ["/api/contacts/", "/api/contacts", "/api/contacts?search=lovelace"] {
        acme.member.get(path).await.expect(200);
    }
    let unknown = uuid::Uuid::now_v7();
    acme.member.get(&format!("/api/contacts/{unknown}")).await.expect(404);
    let lone = crate::support::world::add_person(&acme.db, "lone", "Regular User", None).await;
    let lone = acme.member.with_token(lone.token.as_ref().unwrap());
    lone.get("/api/sms/messages").await.expect(403);
    acme.member.get("/no/such/path").await.expect(404);
    acme.db.batch_execute("revoke insert on contacts from ringfence_api").await.unwrap();
    let refused = json!({"first_name": "B", "last_name": "B", "email": "b@x.example"});
    acme.member.post("/api/contacts/", refused).await.expect(403);
    let due = "insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
        values ($1, $1, $2, 'activity_due', $2, now() - interval '90 seconds')";
    acme.db.execute(due, &[&acme.company, &acme.admin.id]).await.unwrap();
    let never = "insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
        values ($1, $1, $2, 'activity_due', gen_random_uuid(), '-infinity')";
    let refused = acme.db.execute(never, &[&acme.company, &acme.admin.id]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::CHECK_VIOLATION), "it would be late for ever");

    let text = scrape(at).await;
    let requests = |method: &str, route: &str, status: &str| {
        value(
            &text,
            &format!("ringfence_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"),
        )
    };
    assert_eq!(requests("get", "/api/contacts/", "2xx"), 3.0);
    assert_eq!(requests("post", "/api/contacts/", "2xx"), 1.0);
    assert_eq!(requests("post", "/api/contacts/", "4xx"), 1.0);
    assert_eq!(requests("get", "/api/contacts/{contact_id}", "4xx"), 1.0);
    assert_eq!(requests("other", "other", "4xx"), 1.0);
    let labels = "method=\"get\",route=\"/api/contacts/\"";
    let seconds = "ringfence_http_request_duration_seconds";
    assert_eq!(value(&text, &format!("{seconds}_count{{{labels}}}")), 3.0);
    assert_eq!(value(&text, &format!("{seconds}_bucket{{{labels},le=\"+Inf\"}}")), 3.0);
    assert!(value(&text, &format!("{seconds}_sum{{{labels}}}")) > 0.0);
    assert_eq!(value(&text, "ringfence_refusals_total{reason=\"no_company\"}"), 1.0);
    assert_eq!(value(&text, "ringfence_refusals_total{reason=\"policy_or_grant\"}"), 1.0);
    assert_eq!(value(&text, "ringfence_pool_connections_max"), 3.0);
    assert_eq!(value(&text, "ringfence_pool_connections{state=\"in_use\"}"), 0.0);
    assert!(value(&text, "ringfence_pool_connections{state=\"idle\"}") >= 1.0);
    assert_eq!(value(&text, "ringfence_pool_waiting"), 0.0);
    assert_eq!(value(&text, "ringfence_database_up"), 1.0);
    assert_eq!(value(&text, "ringfence_jobs_due"), 1.0);
    assert!((90.0..120.0).contains(&value(&text, "ringfence_jobs_oldest_due_seconds")));

    let ids = [acme.company, acme.admin.id, acme.member.id, unknown].map(|id| id.to_string());
    let named = ids.iter().map(String::as_str).chain([acme.name.as_str(), "lovelace", "company_id", "tenant"]);
    for word in named {
        assert!(!text.contains(word), "{word} is in:\n{text}");
    }

    own.drop().await;
    let text = scrape(at).await;
    assert_eq!(value(&text, "ringfence_database_up"), 0.0);
    assert!(value(&text, "ringfence_jobs_due").is_nan());
}

/// Operators see that mail is not being sent; a recipient whom a provider refuses is not counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_providers_do_not_take_is_counted() {
    let own = OwnDatabase::new().await;
    let at = free();
    let relay_url = Some(format!("smtp://{}", free()));
    let acme = World::served(&own, Config { metrics_listen: Some(at), relay_url, ..config() }).await;
    let failures = async |provider: &str| {
        value(&scrape(at).await, &format!("ringfence_provider_failures_total{{provider=\"{provider}\"}}"))
    };
    let mail = |to: &str| json!({"to_email": to, "subject": "Hi", "body": "B"});
    for provider in ["relay", "sendgrid", "twilio"] {
        assert_eq!(failures(provider).await, 0.0, "{provider}");
    }
    acme.member.post("/api/emails/", mail("ada@x.example")).await.expect(502);
    assert_eq!(failures("relay").await, 1.0);
    with_key(&acme).await;
    for (to, status, counted) in
        [("refused@x.example", 502, 0.0), ("busy@x.example", 502, 1.0), ("ada@x.example", 201, 1.0)]
    {
        acme.member.post("/api/emails/", mail(to)).await.expect(status);
        assert_eq!(failures("sendgrid").await, counted, "{to}");
    }
    acme.admin.put("/api/twilio-settings/", json!({"auth_token": "0".repeat(32)})).await;
    assert!(failures("twilio").await >= 1.0);
    own.drop().await;
}

#[tokio::test]
async fn the_api_itself_does_not_show_them() {
    for path in ["/metrics", "/metrics/", "/api/metrics"] {
        Person::nobody().get(path).await.expect(404);
    }
}
