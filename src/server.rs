//! The HTTP server around the API: request ids, log lines, CORS, health, documents, and a graceful shutdown.

use crate::{
    App, Error, api,
    config::{Config, Switch},
    db::{UNFINISHED_RESTORE, migrate, platform},
    drain::Drained,
    error::{ErrorBody, ErrorInfo},
    idempotency, jobs, metrics, openapi, page, read_your_writes, store_owner, streaming,
    wire::Json,
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, MatchedPath, Request, State},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt};
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
    cors::{AllowOrigin, CorsLayer},
};
use tracing::Instrument;
use uuid::Uuid;

/// Maximum size of a body, in bytes, unless its route states another.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a shutdown waits for requests, jobs and background work.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// How much longer a shutdown waits for background work that stores a provider's response.
const PROVIDER_WRITE_GRACE: Duration = Duration::from_secs(5);
/// How long the headers of a request may take, since the connection was accepted or its last response ended. This
/// exceeds the time for which proxies keep idle connections (nginx: 60 s), so that none writes to one that is being
/// closed.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// How long the headers may take while many connections are open, such as those of a client that sends nothing.
const CROWDED_HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of open connections from which on that applies, unless half of the limit of open files is lower.
const CROWDED_CONNECTIONS: usize = 1000;
/// Minimum interval of log lines that no connection can be accepted.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum size of a connection's read buffer, in bytes; headers cannot be longer.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// How long a client may leave a response unread: it is in memory until then.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request may take until its response begins, whatever it waits for: a provider and then the database,
/// several statements of half a minute each. Then an open transaction is rolled back; a statement outside of a
/// transaction may still be carried out, and work that continues without a client continues.
const TIMEOUT: Duration = Duration::from_secs(60);
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CONTEXT: Arc<RequestContext>;
}

/// The request that a task serves.
#[derive(Default)]
struct RequestContext {
    id: Box<str>,
    /// The caller, once known.
    user: OnceLock<Uuid>,
    /// The caller's company, as the request's first transaction found it.
    company: OnceLock<Option<Uuid>>,
}

/// The id of the request that this task serves; empty outside of one.
pub fn request_id() -> String {
    CONTEXT.try_with(|context| context.id.to_string()).unwrap_or_default()
}

/// Notes the caller, for the log and for refusals.
pub(crate) fn note_user(user: Uuid) {
    tracing::Span::current().record("user", tracing::field::display(user));
    let _ = CONTEXT.try_with(|context| context.user.set(user));
}

/// The company that this request began in, once it is known and if there is one.
pub(crate) fn company() -> Option<Uuid> {
    CONTEXT.try_with(|context| context.company.get().copied().flatten()).unwrap_or_default()
}

/// Notes the company of a transaction of this request. The caller may be moved before the next one, and what was read
/// in one company must not be written in another.
pub(crate) fn note_company(company: Option<Uuid>) {
    let _ = CONTEXT.try_with(|context| context.company.set(company));
}

/// Runs work as a part of this request, even in a task of its own.
pub fn as_part_of_request<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = CONTEXT.try_with(Arc::clone).unwrap_or_default();
    CONTEXT.scope(context, work).in_current_span()
}

/// The whole application as a router.
pub fn router(app: App) -> Router {
    let (api, document) = api::router();
    let document: Arc<str> = serde_json::to_string(&document).unwrap_or_default().into();
    let docs: Arc<str> = docs_page().into();
    api.route("/", get(root))
        .route("/health", get(health))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(async move || ([(header::CONTENT_TYPE, "application/json")], document.to_string())))
        .route("/docs", get(async move || ([(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)], Html(docs.to_string()))))
        .fallback(async || plain(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || plain(StatusCode::METHOD_NOT_ALLOWED))
        // The first is the outermost. Together they are one layer, because the router boxes each layer.
        .layer((
            middleware::from_fn_with_state(app.clone(), request),
            cors(&app.config),
            DefaultBodyLimit::max(MAX_BODY_BYTES),
            middleware::from_fn_with_state(app.clone(), once_and_in_time),
            CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
                Error::Internal("a handler panicked".into()).into_response()
            }),
        ))
        .with_state(app)
}

/// Additions to the docs page's style: a layout for phones, a dark mode, and compact text.
const DOCS_HEAD: &str = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>\
body{margin:0 auto;max-width:72rem}\
.swagger-ui .info{margin:2rem 0 1rem}.swagger-ui .info .renderedMarkdown p{max-width:46rem;margin:1em 0;line-height:1.6}\
.swagger-ui .scheme-container{margin:0;padding:.5rem 0;box-shadow:none}\
.swagger-ui .markdown code,.swagger-ui .renderedMarkdown code{padding:.1em .3em;color:inherit;overflow-wrap:anywhere}\
.swagger-ui .opblock-tag{font-size:1.2rem}.swagger-ui .opblock-tag span{text-transform:capitalize}\
@media(prefers-color-scheme:dark){body{background:#1b1b1b}#swagger-ui{filter:invert(.9) hue-rotate(180deg)}}\
@media(max-width:40rem){.swagger-ui .wrapper{padding:0 .75rem}.swagger-ui .opblock .opblock-summary{flex-wrap:wrap}}</style></head>";

/// The docs page: collapsed areas, with a field to find one.
fn docs_page() -> String {
    let page = aide::swagger::Swagger::new("/openapi.json").with_title("Ringfence API").html();
    let options =
        "\"deepLinking\": true, \"docExpansion\": \"none\", \"filter\": true, \"defaultModelsExpandDepth\": -1,";
    page.replacen("</head>", DOCS_HEAD, 1).replacen("\"deepLinking\": true,", options, 1)
}

/// The docs page loads nothing from elsewhere; its script and style are part of it.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";

fn plain(status: StatusCode) -> Response {
    (status, Json(ErrorBody::of(status))).into_response()
}

async fn root() -> Json<serde_json::Value> {
    Json(json!({ "message": "Ringfence API", "docs": "/docs", "version": openapi::VERSION }))
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "healthy", "service": "ringfence", "version": openapi::VERSION }))
}

/// Ready if the database responds and has this program's version, or a newer one that this program still fits, and the
/// store of files is known to be this database's.
async fn ready(State(app): State<App>) -> Response {
    let ready = async {
        let readiness = app.db.platform().readiness().await?;
        let platform::Readiness { version, oldest_program, login_problem, is_unfinished } = readiness;
        let versions = || format!("the database is at migration {version}, this program at {}", migrate::newest());
        let role = login_problem.map(|problem| format!("the role of DATABASE_URL {problem}"));
        let restore = is_unfinished.then(|| UNFINISHED_RESTORE.to_owned());
        let problem = (!migrate::fits(version, oldest_program)).then(versions).or(role).or(restore);
        if problem.is_some() {
            return Ok(problem);
        }
        let store = match store_owner::known(&app).await {
            Ok(Ok(())) => None,
            Ok(Err(store_owner::Problem::Anothers)) => Some("the store of files is another database's"),
            Ok(Err(store_owner::Problem::Missing(_))) => Some("the store of files is empty, and no new one"),
            Err(_) => Some("the store of files cannot be used yet"),
        };
        Ok::<_, Error>(store.map(str::to_owned))
    };
    match ready.await {
        Ok(None) => Json(json!({ "status": "ready" })).into_response(),
        Ok(Some(detail)) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready", "detail": detail }))).into_response()
        }
        Err(e) => e.into_response(),
    }
}

fn cors(config: &Config) -> CorsLayer {
    let origins = config.cors_origins.iter().filter_map(|o| HeaderValue::from_str(o.trim()).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([
            Method::DELETE,
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::PATCH,
            Method::POST,
            Method::PUT,
        ])
        .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
        .expose_headers([
            X_REQUEST_ID,
            header::LINK,
            page::TOTAL_COUNT,
            idempotency::REPLAYED,
            read_your_writes::POSITION,
        ])
        .max_age(Duration::from_secs(600))
}

/// Carries a request out, only once if it has an idempotency key, and up to a timeout. A form with a file, if the route
/// takes one, has its own limits on pace and duration.
async fn once_and_in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_form = kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    let takes_file = is_form && takes_files(&request);
    let answer = idempotency::keep(app, request, next);
    if takes_file {
        return answer.await;
    }
    tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(|_| Error::TookTooLong.into_response())
}

fn takes_files(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    let route = path.and_then(|path| api::find(&request.method().as_str().to_lowercase(), path.as_str()));
    route.and_then(|route| route.limit).is_some_and(|limit| limit > MAX_BODY_BYTES)
}

/// Gives each request an id, a span and a log line, and each response its security headers.
async fn request(State(app): State<App>, request: Request, next: Next) -> Response {
    let given = request.headers().get(&X_REQUEST_ID).and_then(|v| v.to_str().ok());
    let fresh = || (&*Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer())).into();
    // A job's id has a blank, so no request can look like a job in the audit log.
    let is_fit = |id: &&str| (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let id: Box<str> = given.filter(is_fit).map_or_else(fresh, Into::into);
    let method = request.method().clone();
    // The route and not the path: paths hold e-mail addresses and tokens.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!("request", %id, %method, route, user = tracing::field::Empty, company = tracing::field::Empty);
    let preflight = method == Method::OPTIONS && request.headers().contains_key(header::ORIGIN);
    let started = Instant::now();
    let context = Arc::new(RequestContext { id, ..RequestContext::default() });
    let mut response = CONTEXT.scope(context.clone(), answer(request, next)).instrument(span.clone()).await;
    // A preflight from a foreign origin gets a clear 400, not just a response without CORS headers.
    if preflight && !response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&context.id) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    let took = started.elapsed();
    let refusal = response.extensions().get::<ErrorInfo>().and_then(|info| info.refusal);
    if let Some(metrics) = &app.metrics {
        metrics.answered(&method, route, response.status(), took, refusal);
    }
    if let (Some(reason), Some(user)) = (refusal, context.user.get())
        && app.refusals.note(*user, format!("{method} {route}"), reason, &context.id)
    {
        let app = app.clone();
        app.clone().background.spawn(async move { app.refusals.write_soon(&app).await });
    }
    let millis = took.as_secs_f64() * 1000.0;
    span.in_scope(|| tracing::info!(status, millis, "answered"));
    response
}

/// Minimum size of a response that is compressed if requested, in bytes.
const MIN_COMPRESSED_BYTES: u64 = 1 << 10;
/// Paths whose responses may contain a secret of the caller. Compressed together with text chosen by somebody else, the
/// length would reveal it (BREACH).
const SECRETIVE: [&str; 6] =
    ["/api/auth", "/api/register", "/api/invitations", "/api/twilio", "/api/emails/webhook", "/api/unsubscribe"];

/// Responses, compressed if requested and safe: for reads only, because a secret that is shown once is in the response
/// to a change.
async fn answer(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let plain = !request.headers().contains_key(header::ACCEPT_ENCODING)
        || request.method() != Method::GET
        || request.headers().contains_key(header::RANGE)
        || SECRETIVE.iter().any(|start| path.starts_with(start));
    if plain {
        return next.run(request).await;
    }
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest);
    let layer = layer.compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES).and(is_text));
    let noted = next.map_response(|mut answer: Response| {
        let status = answer.status();
        answer.extensions_mut().insert(status);
        streaming::mark(answer)
    });
    let Ok(mut response) = layer.layer(noted).oneshot(request).await;
    // A client that accepts no encoding gets the plain response, not the layer's 406: the request has been carried out.
    if let Some(status) = response.extensions_mut().remove::<StatusCode>() {
        *response.status_mut() = status;
    }
    streaming::compressed(response.map(Body::new))
}

/// Whether it is text, and not a file's content, of which a client may request a range.
fn is_text(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    (kind.starts_with("application/json") || kind.starts_with("text/")) && !headers.contains_key(header::ACCEPT_RANGES)
}

/// The part of an IP address that identifies an internet customer: all of IPv4, the first half of IPv6.
fn network(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{:x?}", &ip.segments()[..4]),
    }
}

/// Where a request comes from, for limits on attempts.
pub struct Client(Option<IpAddr>);

impl Client {
    /// Counts one attempt of `action` by this address on this account, and refuses it with 429 beyond `allowed` in
    /// `per`. With an account, ten times that is the limit of an address on all accounts, and of an account from all
    /// addresses: one stranger cannot lock a user out, but ten networks together can while they go on.
    pub async fn limit(
        &self,
        app: &App,
        action: &str,
        account: &str,
        allowed: i32,
        per: Duration,
    ) -> Result<Attempt, Error> {
        if app.config.rate_limits == Switch::Off {
            return Ok(Attempt(Vec::new()));
        }
        let ip = self.0.map(network).unwrap_or_default();
        let accounts = if account.is_empty() { 1 } else { 10 };
        let mut buckets = vec![(format!("{action} {ip}"), allowed * accounts)];
        if !account.is_empty() {
            buckets.push((format!("{action} {ip} {account}"), allowed));
            buckets.push((format!("{action} * {account}"), allowed * 10));
        }
        let mut counted = Vec::new();
        for (bucket, allowed) in buckets {
            let bucket = app.keys.bucket(&bucket);
            app.db.platform().rate_limit(&bucket, allowed, per).await?;
            counted.push(bucket);
        }
        Ok(Attempt(counted))
    }
}

/// An attempt that was counted.
pub struct Attempt(Vec<String>);

impl Attempt {
    /// Uncounts the attempt: it was not a guess.
    pub async fn give_back(self, app: &App) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { app.db.platform().return_attempts(&self.0).await }
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    /// The peer's address, or with trusted proxies the one that the outermost of them saw.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
        let seen: Vec<&str> = forwarded.flat_map(|v| v.split(',')).map(str::trim).collect();
        let hops = app.config.proxy_hops;
        let proxied = seen.len().checked_sub(hops).filter(|_| hops > 0).and_then(|i| seen[i].parse().ok());
        Ok(Self(proxied.or(peer)))
    }
}

impl aide::OperationInput for Client {}

/// Raises the limit of open files to the system's maximum, because each connection is one. The initial limit, mostly
/// 1024, is meant for programs that use select(2).
pub fn allow_connections() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// The next connection. If the limit of open files is reached, this waits until another one is closed.
async fn next_connection(listener: &TcpListener, logged: &mut Option<Instant>) -> (TcpStream, SocketAddr) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(e) if [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&e.kind()) => {}
            Err(e) => {
                if logged.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                    tracing::warn!(error = %e, "no connection can be taken: raise the limit of open files");
                    *logged = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves connections until `stop` is done; returns those that are still open.
async fn accept(listener: TcpListener, router: &Router, stop: impl Future<Output = ()>) -> GracefulShutdown {
    let connections = GracefulShutdown::new();
    let protocol = |timeout| {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(READ_BUFFER_BYTES);
        http
    };
    let (patient, hasty) = (protocol(HEADER_READ_TIMEOUT), protocol(CROWDED_HEADER_READ_TIMEOUT));
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(files, _)| files);
    let crowd = usize::try_from(files / 2).unwrap_or(CROWDED_CONNECTIONS).min(CROWDED_CONNECTIONS);
    let (mut stop, mut logged, stopping) = (pin!(stop), None, CancellationToken::new());
    let _stops = stopping.clone().drop_guard();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = next_connection(&listener, &mut logged) => accepted,
            () = &mut stop => return connections,
        };
        let _ = stream.set_nodelay(true);
        let http = if connections.count() < crowd { &patient } else { &hasty };
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_write_timeout_pinned(Some(WRITE_STALL_TIMEOUT));
        let router = router.clone();
        let stopping = stopping.clone();
        let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(Drained::of(request, stopping.clone()))
        });
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), answer));
        tokio::spawn(async move {
            // A client that disconnects is not worth a log line.
            let _ = connection.await;
        });
    }
}

/// Serves until `stop` is done, then lets what is under way finish. From then on, no job is started: other servers have
/// time for it.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopping, idle) = (CancellationToken::new(), CancellationToken::new());
    begin_metrics(&app, &idle).await?;
    let (watched, stop_watching) = (app.clone(), idle.clone().cancelled_owned());
    app.background.spawn(async move { watched.db.watch_standby(stop_watching).await });
    let (watched, stop_watching) = (app.clone(), idle.clone().cancelled_owned());
    app.background.spawn(async move { store_owner::watch(&watched, stop_watching).await });
    if app.config.worker == Switch::On {
        begin_jobs(&app, &stopping);
    }
    let connections = accept(listener, &router(app.clone()), stop).await;
    let end = Instant::now() + SHUTDOWN_GRACE;
    stopping.cancel();
    if tokio::time::timeout_at(end, connections.shutdown()).await.is_err() {
        tracing::warn!("stopped with requests still under way");
    }
    idle.cancel();
    finish(&app, end).await;
    Ok(())
}

/// Works on jobs without serving the API until `stop` is done, then lets those under way finish, as a server does.
pub async fn work(app: App, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    let stopping = CancellationToken::new();
    begin_metrics(&app, &stopping).await?;
    let working = begin_jobs(&app, &stopping);
    tokio::select! {
        () = stop => {}
        // Before a stop, this ends only by a panic.
        ended = working => return ended.map_err(std::io::Error::other),
    }
    stopping.cancel();
    finish(&app, Instant::now() + SHUTDOWN_GRACE).await;
    Ok(())
}

/// Serves metrics until a stop, if they are configured.
async fn begin_metrics(app: &App, stopping: &CancellationToken) -> std::io::Result<()> {
    let Some(address) = app.config.metrics_listen else { return Ok(()) };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| std::io::Error::new(e.kind(), format!("cannot listen on {address} for metrics: {e}")))?;
    app.background.spawn(metrics::serve(app.clone(), listener, stopping.clone().cancelled_owned()));
    Ok(())
}

/// Works on jobs until a stop.
fn begin_jobs(app: &App, stopping: &CancellationToken) -> JoinHandle<()> {
    let (app, stop) = (app.clone(), stopping.clone().cancelled_owned());
    app.clone().background.spawn(async move { jobs::work(&app, stop).await })
}

/// Waits for background work and for jobs.
async fn finish(app: &App, end: Instant) {
    app.background.close();
    // Background work started at the last moment stores a provider's response.
    if tokio::time::timeout_at(end + PROVIDER_WRITE_GRACE, app.background.wait()).await.is_err() {
        tracing::warn!("stopped with work still under way");
    }
    app.db.close();
}
