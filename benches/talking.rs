//! Measures what talking to customers costs: campaigns, with a worker that is killed in the middle, scheduled texts,
//! and callbacks of Twilio. Everything is real except the other side: an SMTP server and Twilio's API, in this process.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program to run by hand")]

mod shared;

use anyhow::{Context, Result, ensure};
use axum::{Json, Router, response::IntoResponse, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Parser;
use hmac::{Hmac, KeyInit, Mac};
use ringfence::{
    db::{self, local::Cluster},
    seal::Sealer,
};
use serde_json::json;
use sha1::Sha1;
use shared::{Connection, Database, Process, SECRET, Server};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::Client;
use uuid::Uuid;

/// Measure campaigns, scheduled texts and callbacks.
#[derive(Parser)]
struct Options {
    /// Number of recipients of a campaign
    #[arg(long, default_value_t = 10_000)]
    recipients: i32,
    /// Number of scheduled texts that are due at once
    #[arg(long, default_value_t = 1_000)]
    texts: i32,
    /// Number of texts for which Twilio sends callbacks, three for each
    #[arg(long, default_value_t = 4_000)]
    messages: i32,
    /// Measure only what has this in its name: campaign, killed, scheduled or callbacks
    #[arg(long, default_value = "")]
    only: String,
    /// Folder of the cluster, in which the data is created anew each time
    #[arg(long, env = "RINGFENCE_BENCH_DATA")]
    data: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

const DATABASE: &str = "bench_talking";
const PUBLIC_URL: &str = "https://crm.example";
/// The number of connections for Twilio's callbacks.
const CLIENTS: usize = 8;

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::open(&shared::folder(options.data.as_ref())).await?;
        let done = run(&options, &cluster).await;
        cluster.close().await?;
        done
    })
}

/// The database and the other side.
struct Bench {
    admin: Client,
    api_url: String,
    inbox: Inbox,
    twilio: SocketAddr,
}

async fn run(options: &Options, cluster: &Cluster) -> Result<()> {
    let database = Database::anew(cluster, DATABASE).await?;
    let admin = db::connect(&database.admin).await?;
    let bench = Bench { admin, api_url: database.api, inbox: Inbox::open().await?, twilio: twilio().await? };
    let is_asked = |name: &str| name.contains(&options.only);
    if is_asked("campaign") {
        campaign(&bench, options.recipients).await?;
    }
    if is_asked("killed") {
        killed(&bench, options.recipients).await?;
    }
    if is_asked("scheduled") {
        scheduled(&bench, options.texts).await?;
    }
    if is_asked("callbacks") {
        callbacks(&bench, options.messages).await?;
    }
    Ok(())
}

impl Bench {
    /// `ringfence` with these arguments.
    fn program(&self, arguments: &[&str]) -> Command {
        let mut program = shared::ringfence(&self.api_url, arguments);
        program.env("RINGFENCE_PUBLIC_URL", PUBLIC_URL);
        program.env("RINGFENCE_RELAY_URL", format!("smtp://{}", self.inbox.address));
        program.env("RINGFENCE_TWILIO_URL", format!("http://{}", self.twilio));
        program
    }

    fn worker(&self) -> Result<Process> {
        Process::start(self.program(&["worker"]))
    }

    /// A company with a user.
    async fn company(&self, name: &str) -> Result<(Uuid, Uuid)> {
        let company = self.admin.query_one("insert into companies (name) values ($1) returning id", &[&name]).await?;
        let company: Uuid = company.get(0);
        let add = "select id from app.add_user($2, 'x', 'A', 'B', 'company_user', $1, 'active')";
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        Ok((company, self.admin.query_one(add, &[&company, &email]).await?.get(0)))
    }

    /// A company with a Twilio account, whose token is set.
    async fn with_twilio(&self, name: &str) -> Result<(Uuid, Uuid)> {
        let (company, user) = self.company(name).await?;
        let settings =
            "insert into twilio_settings (tenant_id, company_id, user_id, account_sid, phone_number, is_verified)
            values ($1, $1, $2, 'AC00000000000000000000000000000001', '+14155550100', true)";
        self.admin.execute(settings, &[&company, &user]).await?;
        let sealer = Sealer::new(&[shared::secret_key()])?;
        let sealed = sealer.seal(company, "twilio_auth_token", SECRET).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let (sealed, last_four) = sealed.context("no token")?;
        let keep = "insert into app.company_secrets (company_id, name, sealed, last_four) values ($1, 'twilio_auth_token', $2, $3)";
        self.admin.execute(keep, &[&company, &sealed, &last_four]).await?;
        Ok((company, user))
    }

    /// A campaign with this many recipients, which is due in this many seconds.
    async fn campaign(&self, company: Uuid, user: Uuid, recipients: i32, in_seconds: f64) -> Result<Uuid> {
        let campaign = "insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, html_body, status, total_recipients, scheduled_at)
            values ($1, $1, $2, 'C', 'Spring', 'Hello', '<html><body>' || repeat('<p>Hello</p>', 200) || '</body></html>', 'draft', $3, now() + make_interval(secs => $4))
            returning id";
        let id: Uuid = self.admin.query_one(campaign, &[&company, &user, &recipients, &in_seconds]).await?.get(0);
        let add = "insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email)
            select $1, $1, $2, $3::uuid, $3::uuid || '-' || n || '@x.example' from generate_series(1, $4) n";
        self.admin.execute(add, &[&company, &user, &id, &recipients]).await?;
        self.admin.batch_execute("vacuum analyze campaign_recipients").await?;
        Ok(id)
    }

    async fn one<T: for<'a> postgres_types::FromSql<'a>>(&self, sql: &str, id: Uuid) -> Result<T> {
        Ok(self.admin.query_one(sql, &[&id]).await?.try_get(0)?)
    }

    /// Waits until a campaign has ended.
    async fn ended(&self, campaign: Uuid) -> Result<()> {
        let start = Instant::now();
        while self.one::<String>("select status from campaigns where id = $1", campaign).await? == "sending" {
            ensure!(start.elapsed() < Duration::from_secs(120), "the campaign does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

const START: &str = "update campaigns set status = 'sending', sent_at = now() where id = $1";

/// Measures a campaign from the first mail to its end, while another company sends one mail.
async fn campaign(bench: &Bench, recipients: i32) -> Result<()> {
    let (many, user) = bench.company("many").await?;
    let (one, other) = bench.company("one").await?;
    let campaign = bench.campaign(many, user, recipients, 0.0).await?;
    let single = bench.campaign(one, other, 1, 0.0).await?;
    bench.inbox.clear();
    let worker = bench.worker()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.admin.execute(START, &[&campaign]).await?;
    bench.inbox.wait_for(recipients as usize / 10).await?;
    let (asked, begun) = (Instant::now(), bench.inbox.count());
    bench.admin.execute(START, &[&single]).await?;
    let waited = loop {
        if let Some(came) = bench.inbox.when(&format!("{single}-1@x.example")) {
            break came - asked;
        }
        ensure!(asked.elapsed() < Duration::from_secs(60), "the other company's mail does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let still = bench.inbox.count() - begun;
    bench.ended(campaign).await?;
    drop(worker);
    let (first, last) = bench.inbox.span();
    let sent: i32 = bench.one("select total_sent from campaigns where id = $1", campaign).await?;
    let states = "select count(*) from campaign_recipients where campaign_id = $1 and state = 'sent'";
    let states: i64 = bench.one(states, campaign).await?;
    bench.inbox.all_once(recipients as usize + 1)?;
    ensure!(sent == recipients && states == i64::from(recipients), "counted {sent}, and {states} by their states");
    let rate = f64::from(recipients) / (last - first).as_secs_f64();
    println!("campaign      {recipients} recipients: {rate:.0} mails/s (bar: >=500), each once, counted {sent}");
    println!(
        "  meanwhile   another company's mail came after {:.2} s (bar: <5), {still} mails after it was asked for",
        waited.as_secs_f64()
    );
    Ok(())
}

/// Measures a campaign whose worker is killed in the middle, with another one that continues.
async fn killed(bench: &Bench, recipients: i32) -> Result<()> {
    let (company, user) = bench.company("killed").await?;
    let campaign = bench.campaign(company, user, recipients, 0.0).await?;
    bench.inbox.clear();
    let mut worker = bench.worker()?;
    bench.admin.execute(START, &[&campaign]).await?;
    bench.inbox.wait_for(recipients as usize / 2).await?;
    worker.kill()?;
    let killed = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (first, before) = (bench.inbox.span().0, bench.inbox.count());
    let doubt = "select count(*) from campaign_recipients where campaign_id = $1 and state = 'sending'";
    let doubt: i64 = bench.one(doubt, campaign).await?;
    // As if it were too late for anybody to record what became of these.
    let over = "update campaign_recipients set tried_at = tried_at - interval '10 minutes' where campaign_id = $1 and state = 'sending'";
    bench.admin.execute(over, &[&campaign]).await?;
    let worker = bench.worker()?;
    bench.inbox.wait_for(before + 1).await?;
    let (again, pause) = (Instant::now(), killed.elapsed());
    bench.ended(campaign).await?;
    drop(worker);
    let last = bench.inbox.span().1;
    let sent: i32 = bench.one("select total_sent from campaigns where id = $1", campaign).await?;
    let failed = "select count(*) from campaign_recipients where campaign_id = $1 and state = 'failed'";
    let failed: i64 = bench.one(failed, campaign).await?;
    let came = bench.inbox.count();
    bench.inbox.all_once(came)?;
    ensure!(
        i64::from(sent) + failed == i64::from(recipients) && failed == doubt,
        "{sent} sent, {failed} failed, {doubt} in doubt"
    );
    ensure!(came >= sent as usize, "{came} came of {sent} that count as sent");
    let sending = (killed - first + (last - again)).as_secs_f64();
    println!(
        "killed        {recipients} recipients, kill -9 after {before}: {:.0} mails/s, goes on after {:.1} s; {sent} sent, {failed} in doubt, {came} came, none twice",
        came as f64 / sending,
        pause.as_secs_f64()
    );
    Ok(())
}

/// Measures texts that are due at the same moment.
async fn scheduled(bench: &Bench, texts: i32) -> Result<()> {
    let (company, user) = bench.with_twilio("scheduled").await?;
    let worker = bench.worker()?;
    let insert = "insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        select $1, $1, $2, '+14155550100', '+1415555' || 2000 + n, 'Text ' || n, now() + interval '3 seconds' from generate_series(1, $3) n";
    bench.admin.execute(insert, &[&company, &user, &texts]).await?;
    let left = "select count(*) from scheduled_sms where tenant_id = $1 and not is_sent and not is_cancelled";
    let start = Instant::now();
    while bench.one::<i64>(left, company).await? > 0 {
        ensure!(start.elapsed() < Duration::from_secs(60), "the texts do not leave");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(worker);
    let late = "select percentile_cont(array[0.5, 0.99, 1]) within group (order by extract(epoch from s.sent_at - s.scheduled_at)::float8)
        from scheduled_sms s where s.tenant_id = $1";
    let late: Vec<f64> = bench.one(late, company).await?;
    let sent = "select count(distinct to_address) from sms_messages where tenant_id = $1 and status = 'sent'";
    let sent: i64 = bench.one(sent, company).await?;
    println!(
        "scheduled     {texts} texts due at once: late by {:.2} s (median), {:.2} s (99 %), {:.2} s (last); {sent} sent",
        late[0], late[1], late[2]
    );
    Ok(())
}

/// Measures signed callbacks in any order, over several connections.
async fn callbacks(bench: &Bench, messages: i32) -> Result<()> {
    let (company, user) = bench.with_twilio("callbacks").await?;
    let insert = "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body, twilio_sid)
        select $1, $1, $2, 'outbound', 'sent', '+14155550100', '+1415555' || 2000 + n % 1000, 'Text', 'SM' || n from generate_series(1, $3) n
        returning id, twilio_sid";
    let rows = bench.admin.query(insert, &[&company, &user, &messages]).await?;
    bench.admin.batch_execute("vacuum analyze sms_messages").await?;
    let mut requests = Vec::new();
    for row in &rows {
        let (id, sid): (Uuid, String) = (row.get(0), row.get(1));
        let path = format!("/api/sms/webhook/status?company={company}&id={id}");
        for status in ["queued", "sent", "delivered"] {
            requests.push(signed(&path, &[("MessageSid", &sid), ("MessageStatus", status)]));
        }
    }
    // Any order, the same each time.
    requests.sort_by_key(|request| {
        request
            .iter()
            .fold(7_u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(*byte))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    let server = Server::start(bench.program(&["--worker", "off"])).await?;
    let address = server.address;
    let start = Instant::now();
    let tell = async |requests: &[Vec<u8>]| -> Result<()> {
        let mut connection = Connection::open(address).await?;
        for request in requests {
            let (status, said) = connection.ask(request).await?;
            ensure!(status == 200, "a callback was answered {status} {}", String::from_utf8_lossy(said));
        }
        Ok(())
    };
    let parts = requests.chunks(requests.len().div_ceil(CLIENTS)).map(tell);
    futures_util::future::try_join_all(parts).await?;
    let rate = requests.len() as f64 / start.elapsed().as_secs_f64();
    drop(server);
    let wrong = "select count(*) from sms_messages where tenant_id = $1 and status <> 'delivered'";
    let wrong: i64 = bench.one(wrong, company).await?;
    println!(
        "callbacks     {} on {CLIENTS} connections: {rate:.0}/s (bar: >=2000), {wrong} of {messages} texts in a wrong state",
        requests.len()
    );
    ensure!(wrong == 0, "states are wrong");
    Ok(())
}

/// A callback as Twilio sends it.
fn signed(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{PUBLIC_URL}{path}").as_bytes());
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-twilio-signature: {signature}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Twilio's API, as far as it accepts texts.
async fn twilio() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let create = async || {
        let sid = format!("SM{}", Uuid::new_v4().simple());
        (axum::http::StatusCode::CREATED, Json(json!({"sid": sid, "status": "queued"}))).into_response()
    };
    let router = Router::new().route("/2010-04-01/Accounts/{account}/Messages.json", post(create));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// An SMTP server that notes when each address was sent to.
#[derive(Clone)]
struct Inbox {
    address: SocketAddr,
    came: Arc<Mutex<HashMap<String, Vec<Instant>>>>,
}

impl Inbox {
    async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let inbox = Self { address: listener.local_addr()?, came: Arc::default() };
        let all = inbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inbox = all.clone();
                tokio::spawn(async move { inbox.converse(stream).await });
            }
        });
        Ok(inbox)
    }

    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 bench\r\n").await?;
        let (mut line, mut to, mut in_data) = (Vec::new(), String::new(), false);
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let answer: &[u8] = if in_data {
                if line != b".\r\n" {
                    continue;
                }
                in_data = false;
                self.came.lock().unwrap().entry(std::mem::take(&mut to)).or_default().push(Instant::now());
                b"250 ok\r\n"
            } else if line.starts_with(b"RCPT TO:<") {
                to = String::from_utf8_lossy(&line[9..]).split('>').next().unwrap_or_default().to_owned();
                b"250 ok\r\n"
            } else if line.starts_with(b"DATA") {
                in_data = true;
                b"354 go on\r\n"
            } else if line.starts_with(b"EHLO") {
                b"250-bench\r\n250 8BITMIME\r\n"
            } else {
                b"250 ok\r\n"
            };
            stream.write_all(answer).await?;
        }
    }

    fn clear(&self) {
        self.came.lock().unwrap().clear();
    }

    /// The number of mails, over all addresses.
    fn count(&self) -> usize {
        self.came.lock().unwrap().values().map(Vec::len).sum()
    }

    fn when(&self, address: &str) -> Option<Instant> {
        self.came.lock().unwrap().get(address).map(|times| times[0])
    }

    /// When the first and the last mail arrived.
    fn span(&self) -> (Instant, Instant) {
        let came = self.came.lock().unwrap();
        let times = || came.values().flatten().copied();
        (times().min().unwrap(), times().max().unwrap())
    }

    async fn wait_for(&self, count: usize) -> Result<()> {
        let start = Instant::now();
        while self.count() < count {
            ensure!(start.elapsed() < Duration::from_secs(120), "only {} mails came", self.count());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn all_once(&self, addresses: usize) -> Result<()> {
        let distinct = self.came.lock().unwrap().len();
        let all = self.count();
        ensure!(distinct == all && all == addresses, "{all} mails to {distinct} addresses instead of {addresses}");
        Ok(())
    }
}
