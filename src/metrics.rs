//! Metrics for Prometheus: requests by route, the pool, the queue, refusals. They have no company's name or id, and no
//! label whose values come from outside. They are served at their own address, and without one nothing is measured.

use crate::{
    App,
    api::{self, Route},
};
use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpListener;

const REQUESTS: &str = "ringfence_http_requests_total";
const SECONDS: &str = "ringfence_http_request_duration_seconds";
const REFUSALS: &str = "ringfence_refusals_total";
/// Kinds of refusals (src/error.rs).
const REFUSED: [&str; 2] = ["no_company", "policy_or_grant"];
const POOL: &str = "ringfence_pool_connections";
const POOL_LIMIT: &str = "ringfence_pool_connections_max";
const POOL_WAITING: &str = "ringfence_pool_waiting";
const DATABASE: &str = "ringfence_database_up";
const STANDBY: &str = "ringfence_standby_up";
const STANDBY_READS: &str = "ringfence_standby_reads_total";
const DUE: &str = "ringfence_jobs_due";
const OLDEST: &str = "ringfence_jobs_oldest_due_seconds";

const PROVIDER_FAILURES: &str = "ringfence_provider_failures_total";

/// Upper bounds of the histogram, in seconds.
const BUCKETS_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// How often recorded durations are aggregated, even if nobody reads them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long the database may take to report the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
static METADATA: Metadata<'static> = Metadata::new("ringfence", Level::INFO, None);

/// The metrics since the start.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// By the path as the router matches it, one for each method.
    routes: HashMap<String, Vec<Arc<Measured>>>,
    /// Requests to no route of the API.
    other: Measured,
}

/// The metrics of one route. What has not happened is not reported.
struct Measured {
    method: &'static str,
    route: &'static str,
    seconds: OnceLock<Histogram>,
    /// By the first digit of the status.
    answers: [OnceLock<Counter>; 5],
}

impl Measured {
    fn new(method: &'static str, route: &'static str) -> Self {
        Self { method, route, seconds: OnceLock::new(), answers: Default::default() }
    }

    fn labels(&self) -> Vec<Label> {
        vec![Label::new("method", self.method), Label::new("route", self.route)]
    }
}

impl Metrics {
    /// Empty metrics.
    pub fn new() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS_SECONDS)
            .context("the bounds of a histogram")?
            .build_recorder();
        let count = |name: &'static str, what: &'static str| recorder.describe_counter(name.into(), None, what.into());
        let gauge = |name: &'static str, what: &'static str| recorder.describe_gauge(name.into(), None, what.into());
        count(REQUESTS, "Requests that were answered");
        count(REFUSALS, "Requests refused for want of a company, or by a policy or grant of the database");
        count(
            PROVIDER_FAILURES,
            "Requests of which a mail server, SendGrid or Twilio took nothing, for want of a valid key, too",
        );
        gauge(POOL, "Connections to the database");
        gauge(POOL_LIMIT, "Connections to the database at most");
        gauge(POOL_WAITING, "Requests that wait for a connection");
        gauge(DATABASE, "Whether the database answered just now");
        count(STANDBY_READS, "Statements that the standby answered");
        gauge(STANDBY, "Whether reads go to the standby, where there is one");
        gauge(DUE, "Jobs that are due and not begun, of all companies together");
        gauge(OLDEST, "For how long the oldest of these jobs has been due");
        recorder.describe_histogram(SECONDS.into(), Some(Unit::Seconds), "From a request to its answer".into());
        // A counter that appears with the first refusal would not be seen to rise.
        for reason in REFUSED {
            let key = Key::from_parts(REFUSALS, vec![Label::new("reason", reason)]);
            recorder.register_counter(&key, &METADATA).increment(0);
        }
        let mut routes: HashMap<String, Vec<Arc<Measured>>> = HashMap::new();
        for Route { method, path, .. } in api::routes() {
            let measured = Arc::new(Measured::new(method, path));
            for form in [(*path).to_owned(), api::other_form(path)] {
                routes.entry(form).or_default().push(measured.clone());
            }
        }
        Ok(Self { handle: recorder.handle(), recorder, routes, other: Measured::new("other", "other") })
    }

    /// Counts a response; `path` is what the router matched.
    pub fn answered(
        &self,
        method: &Method,
        path: &str,
        status: StatusCode,
        took: Duration,
        refusal: Option<&'static str>,
    ) {
        let of_path = self.routes.get(path).map(Vec::as_slice).unwrap_or_default();
        let route = of_path.iter().find(|measured| method.as_str().eq_ignore_ascii_case(measured.method));
        let route = route.map_or(&self.other, Arc::as_ref);
        let seconds = || self.recorder.register_histogram(&Key::from_parts(SECONDS, route.labels()), &METADATA);
        route.seconds.get_or_init(seconds).record(took.as_secs_f64());
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        let answers = || {
            let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][class - 1];
            let labels = [route.labels(), vec![Label::new("status", class)]].concat();
            self.recorder.register_counter(&Key::from_parts(REQUESTS, labels), &METADATA)
        };
        route.answers[class - 1].get_or_init(answers).increment(1);
        if let Some(reason) = refusal {
            let key = Key::from_parts(REFUSALS, vec![Label::new("reason", reason)]);
            self.recorder.register_counter(&key, &METADATA).increment(1);
        }
    }

    fn set(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
    }

    /// All metrics, with the current state of pool and queue.
    async fn page(&self, app: &App) -> String {
        let pool = app.db.state();
        for (state, count) in [("in_use", pool.in_use), ("idle", pool.open.saturating_sub(pool.in_use))] {
            self.set(POOL, vec![Label::new("state", state)], count as f64);
        }
        self.set(POOL_LIMIT, Vec::new(), pool.limit as f64);
        self.set(POOL_WAITING, Vec::new(), pool.waiting as f64);
        if let Some(is_up) = app.db.standby_is_up() {
            self.set(STANDBY, Vec::new(), f64::from(u8::from(is_up)));
            let reads = self.recorder.register_counter(&Key::from_name(STANDBY_READS), &METADATA);
            reads.absolute(app.db.standby_reads());
        }
        let providers = [("sendgrid", app.sendgrid.failures()), ("twilio", app.twilio.failures())];
        for (provider, failures) in providers.into_iter().chain(app.mailer.failures()) {
            let key = Key::from_parts(PROVIDER_FAILURES, vec![Label::new("provider", provider)]);
            self.recorder.register_counter(&key, &METADATA).absolute(failures);
        }
        let queue =
            tokio::time::timeout(QUEUE_TIMEOUT, app.db.platform().queue_state()).await.ok().and_then(Result::ok);
        self.set(DATABASE, Vec::new(), f64::from(u8::from(queue.is_some())));
        self.set(DUE, Vec::new(), queue.as_ref().map_or(f64::NAN, |queue| queue.due as f64));
        self.set(OLDEST, Vec::new(), queue.as_ref().map_or(f64::NAN, |queue| queue.seconds));
        self.handle.render()
    }
}

async fn page(State(app): State<App>) -> impl IntoResponse {
    let text = match &app.metrics {
        Some(metrics) => metrics.page(&app).await,
        None => String::new(),
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Serves the metrics until `stop` is done.
pub async fn serve(app: App, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) {
    let router = Router::new().route("/metrics", get(page)).with_state(app.clone());
    let upkeep = async {
        let mut turn = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            turn.tick().await;
            if let Some(metrics) = &app.metrics {
                metrics.handle.run_upkeep();
            }
        }
    };
    tokio::select! {
        served = async { axum::serve(listener, router).await } => {
            if let Err(e) = served {
                tracing::error!(error = %e, "metrics are not served any more");
            }
        }
        () = upkeep => {}
        () = stop => {}
    }
}
