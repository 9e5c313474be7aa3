//! The queue, and reminders of activities that are due.

use crate::support::{
    command::configured,
    database::{OwnDatabase, enter, until},
    server::{config, start_server},
    world::{Person, World},
};
use ringfence::{
    App,
    config::{Config, Switch},
    db::{self, Db, platform::Job},
    jobs, server,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::io::{AsyncBufReadExt, BufReader};
use uuid::Uuid;

async fn notes(who: &Person) -> Vec<Value> {
    who.get("/api/notifications/").await.expect(200).as_array().unwrap().clone()
}

async fn activity(who: &Person, due: &str) -> Value {
    let new = json!({"type": "call", "subject": format!("Call {}", Uuid::new_v4()), "due_date": due});
    who.post("/api/activities/", new).await.expect(200)
}

async fn job_of(world: &World, activity: &Value) -> Option<(String, i32)> {
    let sql = "select run_at::text, attempts from jobs where kind = 'activity_due' and record_id::text = $1";
    world.db.query_opt(sql, &[&activity["id"].as_str().unwrap()]).await.unwrap().map(|r| (r.get(0), r.get(1)))
}

async fn make_due(world: &World, activity: &Value) {
    let sql = "update activities set due_date = now() where id::text = $1";
    world.db.execute(sql, &[&activity["id"].as_str().unwrap()]).await.unwrap();
}

#[tokio::test]
async fn an_activity_that_is_due_notifies_its_owner_once() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    // Several workers in addition to the server's own.
    let app = App::new(Db::new(&own.api, 4).unwrap(), config()).unwrap();
    let (stop, _) = tokio::sync::watch::channel(());
    for _ in 0..3 {
        let (app, mut stopped) = (app.clone(), stop.subscribe());
        tokio::spawn(async move { jobs::work(&app, async move { drop(stopped.changed().await) }).await });
    }
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(activity(&acme.member, "2099-01-01").await);
    }
    for activity in &made {
        make_due(&acme, activity).await;
    }
    until("a notification of each", async || notes(&acme.member).await.len() == 5).await;
    until("the end of the jobs", async || {
        acme.value::<i64>("select count(*) from jobs where tenant_id = $1", &[&acme.company]).await == 0
    })
    .await;
    let seen = notes(&acme.member).await;
    assert_eq!(seen.len(), 5);
    for activity in &made {
        let title = format!("Due: {}", activity["subject"].as_str().unwrap());
        assert_eq!(seen.iter().filter(|n| n["title"] == json!(title)).count(), 1);
    }
    assert_eq!(notes(&acme.admin).await, Vec::<Value>::new(), "nobody else is told");
    stop.send(()).unwrap();
    app.db.close();
    own.drop().await;
}

#[tokio::test]
async fn a_reminder_follows_its_activity() {
    let acme = World::new().await;
    let made = activity(&acme.admin, "2099-01-01T10:00").await;
    let path = format!("/api/activities/{}", made["id"].as_str().unwrap());
    let at = async || job_of(&acme, &made).await.map(|(at, _)| at[..16].to_owned());
    assert_eq!(at().await.as_deref(), Some("2099-01-01 10:00"));
    acme.admin.patch(&path, json!({"due_date": "2099-02-01T11:00"})).await.expect(200);
    assert_eq!(at().await.as_deref(), Some("2099-02-01 11:00"));
    acme.admin.patch(&path, json!({"subject": "Renamed"})).await.expect(200);
    assert_eq!(at().await.as_deref(), Some("2099-02-01 11:00"));
    acme.admin.send("PATCH", &format!("{path}/complete"), None).await.expect(200);
    assert_eq!(at().await, None);
    acme.admin.send("PATCH", &format!("{path}/complete"), None).await.expect(200);
    assert_eq!(at().await.as_deref(), Some("2099-02-01 11:00"));
    acme.admin.patch(&path, json!({"due_date": null})).await.expect(200);
    assert_eq!(at().await, None);
    acme.admin.patch(&path, json!({"due_date": "2099-02-01"})).await.expect(200);
    acme.admin.delete(&path).await.expect(200);
    assert_eq!(at().await, None);
    assert_eq!(
        job_of(&acme, &activity(&acme.admin, "2020-01-01").await).await,
        None,
        "what is long past is no reminder"
    );
}

/// Giving an activity to a colleague at psql leaves its job unchanged.
#[tokio::test]
async fn a_reminder_reaches_whom_the_activity_was_given_to() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let made = activity(&acme.member, "2099-01-01").await;
    let given = "update activities set owner_id = $2 where id::text = $1";
    acme.db.execute(given, &[&made["id"].as_str().unwrap(), &acme.admin.id]).await.unwrap();
    make_due(&acme, &made).await;
    until("the reminder", async || notes(&acme.admin).await.len() == 1).await;
    assert!(notes(&acme.member).await.is_empty() && job_of(&acme, &made).await.is_none());
    own.drop().await;
}

/// A client that never ends its request delays a stop up to the time limit; meanwhile jobs are left to other workers.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_begins_no_job_and_ends_in_time() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new(Db::new(&own.api, 2).unwrap(), config()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(app.clone(), listener, async move { drop(stopped.await) }));
    let told = activity(&acme.member, "2099-01-01").await;
    make_due(&acme, &told).await;
    until("a notification by this server", async || notes(&acme.member).await.len() == 1).await;
    // Neither the client nor the request's background work ends.
    app.background.spawn(std::future::pending::<()>());
    let member = acme.member.at(&format!("http://{address}"));
    let _half = member.begin("/api/contacts/", "application/json", 100).await;

    stop.send(()).unwrap();
    let start = Instant::now();
    until("the worker stops", async || app.background.is_closed()).await;
    let left = activity(&acme.member, "2099-01-01").await;
    make_due(&acme, &left).await;
    tokio::time::timeout(Duration::from_secs(45), serving).await.expect("it stops in time").unwrap().unwrap();
    assert!(start.elapsed() > Duration::from_secs(5), "the client held it up for longer than a worker waits");
    assert_eq!(job_of(&acme, &left).await.map(|(_, attempts)| attempts), Some(0));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_waits_for_a_job_no_longer_than_a_server() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let mut worker = at_an_endless_job(&own, &acme).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(worker.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let start = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(45), worker.wait()).await.expect("it stops in time").unwrap();
    assert!(ended.success() && start.elapsed() > Duration::from_secs(25), "{ended} after {:?}", start.elapsed());
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_interrupts_a_worker_twice_does_not_wait_for_its_job() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let mut worker = at_an_endless_job(&own, &acme).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(worker.id().unwrap()).unwrap());
    let mut said = BufReader::new(worker.stderr.take().unwrap()).lines();
    let mut says = async |words: &str| while !said.next_line().await.unwrap().expect(words).contains(words) {};

    let start = Instant::now();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    says("Ctrl-C stops it at once").await;
    assert_eq!(worker.try_wait().unwrap(), None);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    says("what was under way may not have finished").await;
    assert_eq!(worker.wait().await.unwrap().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(25), "after {:?}", start.elapsed());
    own.drop().await;
}

/// A worker that runs a job which does not end.
async fn at_an_endless_job(own: &OwnDatabase, acme: &World) -> tokio::process::Child {
    let endless = format!(
        "create function is_endless() returns trigger language plpgsql as 'begin perform pg_sleep(300); return new; end';
        create trigger endless before insert on notifications for each row execute function is_endless();
        alter role ringfence_api in database {} set statement_timeout = 0",
        own.name
    );
    acme.db.batch_execute(&endless).await.unwrap();
    make_due(acme, &activity(&acme.member, "2099-01-01").await).await;
    let mut worker = tokio::process::Command::from(configured(own, &["worker"]));
    let worker = worker.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let sleeping =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
    until("it is at the job", async || acme.value::<i64>(sleeping, &[]).await == 1).await;
    worker
}

/// A worker that has claimed the reminder waits for the change of the activity, and leaves it to its new time.
#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_whose_activity_is_moved_while_it_is_told_waits_for_its_new_time() {
    let own = OwnDatabase::new().await;
    let acme = World::alone(&own).await;
    let made = activity(&acme.admin, "2099-01-01T10:00").await;
    let path = format!("/api/activities/{}", made["id"].as_str().unwrap());
    let claimed =
        "update jobs set run_at = now() + interval '1 minute', attempts = 1 where kind = 'activity_due' returning id";
    let job: Uuid = acme.value(claimed, &[]).await;
    let api = db::connect(&own.api).await.unwrap();
    let begin = format!("begin; {}", enter(acme.company, acme.admin.id));
    let (hold, tell) = (ringfence::sql!("jobs/hold").text, ringfence::sql!("jobs/activity_due").text);
    // Too early, as by a claim whose end is not known.
    api.batch_execute(&begin).await.unwrap();
    assert_eq!(api.query(hold, &[&job]).await.unwrap().len(), 1);
    assert!(api.query(tell, &[&job]).await.unwrap().is_empty());
    api.batch_execute("commit").await.unwrap();
    assert_eq!(job_of(&acme, &made).await, Some(("2099-01-01 10:00:00+00".into(), 0)));

    acme.db.query(claimed, &[]).await.unwrap();
    acme.admin.patch(&path, json!({"due_date": "2099-02-01T11:00"})).await.expect(200);
    api.batch_execute(&begin).await.unwrap();
    assert!(api.query(hold, &[&job]).await.unwrap().is_empty(), "it is somebody else's now");
    api.batch_execute("commit").await.unwrap();
    assert_eq!(job_of(&acme, &made).await, Some(("2099-02-01 11:00:00+00".into(), 0)));
    assert!(notes(&acme.admin).await.is_empty());
}

#[tokio::test]
async fn a_job_never_reaches_another_companys_row() {
    let own = OwnDatabase::new().await;
    let base = start_server(config(), &own.api);
    let (a, b) = (World::alone_at(&own, &base).await, World::alone_at(&own, &base).await);
    let theirs = activity(&a.admin, "2099-01-01").await;
    let forged = "insert into jobs (tenant_id, company_id, user_id, kind, record_id) values ($1, $1, $2, 'activity_due', $3) returning id";
    let id: Uuid = theirs["id"].as_str().unwrap().parse().unwrap();
    let job: Uuid = b.value(forged, &[&b.company, &b.admin.id, &id]).await;
    until("the end of the forged job", async || {
        b.value::<i64>("select count(*) from jobs where id = $1", &[&job]).await == 0
    })
    .await;
    for who in [&a.admin, &a.member, &b.admin, &b.member] {
        assert_eq!(notes(who).await, Vec::<Value>::new());
    }
    assert!(job_of(&a, &theirs).await.is_some());
    own.drop().await;
}

async fn company_and_user(admin: &tokio_postgres::Client) -> (Uuid, Uuid) {
    let company: Uuid =
        admin.query_one("insert into companies (name) values ('A') returning id", &[]).await.unwrap().get(0);
    let add = "select id from app.add_user('a@x.example', 'x', 'A', 'B', 'company_user', $1, 'active')";
    let user: Uuid = admin.query_one(add, &[&company]).await.unwrap().get(0);
    (company, user)
}

/// In databases of their own, in which no other worker takes the job.
#[tokio::test]
async fn a_claimed_job_of_a_dead_worker_comes_back_and_a_failing_one_is_given_up() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let (company, user) = company_and_user(&admin).await;
    let insert = "insert into activities (tenant_id, company_id, owner_id, type, subject, due_date)
        values ($1, $1, $2, 'call', 'Secret subject', now() - interval '1 minute') returning id";
    let activity: Uuid = admin.query_one(insert, &[&company, &user]).await.unwrap().get(0);
    let app = App::new(Db::new(&own.api, 2).unwrap(), config()).unwrap();
    let platform = app.db.platform();
    let claimed = platform.claim_jobs(jobs::KINDS, 10, &[]).await.unwrap();
    assert_eq!(
        claimed.iter().map(|j| (j.company_id, j.user_id, j.record_id)).collect::<Vec<_>>(),
        [(company, user, activity)]
    );
    assert!(platform.claim_jobs(jobs::KINDS, 10, &[]).await.unwrap().is_empty(), "it is somebody's for five minutes");
    assert!(platform.claim_jobs(&["unheard_of"], 10, &[]).await.unwrap().is_empty());

    // The worker died, and its claim ends. Meanwhile the company is suspended: the job fails, and is kept for later.
    let work = async || {
        admin.execute("update jobs set run_at = now()", &[]).await.unwrap();
        let left = "select count(*) from jobs where run_at <= now() and failed_at is null";
        let claimed = until("an attempt", async || admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0);
        // Returns when the claimed jobs are done.
        jobs::work(&app, claimed).await;
    };
    admin.execute("update companies set status = 'suspended'", &[]).await.unwrap();
    work().await;
    let job =
        admin.query_one("select attempts, last_error, failed_at is null, run_at > now() from jobs", &[]).await.unwrap();
    let error: String = job.get(1);
    assert_eq!(
        (job.get::<_, i32>(0), job.get::<_, bool>(2), job.get::<_, bool>(3)),
        (1, true, true),
        "it does not count"
    );
    assert!(!error.contains("Secret"), "{error}");
    // A job that was requested anew during the attempt has no attempts, and not fewer than none.
    let anew: Uuid = admin.query_one("update jobs set attempts = 0 returning id", &[]).await.unwrap().get(0);
    platform.retry_job(anew, "suspended").await.unwrap();
    let attempts: i32 =
        admin.query_one("update jobs set attempts = attempts + 1 returning attempts", &[]).await.unwrap().get(0);
    assert_eq!(attempts, 1);
    admin.execute("update companies set status = 'active'", &[]).await.unwrap();
    // Makes each attempt fail.
    admin.batch_execute("revoke insert on notifications from ringfence_api").await.unwrap();
    work().await;
    let job = admin.query_one("select attempts, last_error, failed_at is null from jobs", &[]).await.unwrap();
    assert_eq!((job.get::<_, i32>(0), job.get::<_, bool>(2)), (2, true));
    assert!(!job.get::<_, String>(1).contains("Secret"));
    admin.execute("update jobs set attempts = 9", &[]).await.unwrap();
    work().await;
    let given_up: bool = admin.query_one("select failed_at is not null from jobs", &[]).await.unwrap().get(0);
    assert!(given_up, "after ten attempts");

    admin
        .batch_execute("grant insert on notifications to ringfence_api; update jobs set failed_at = null, attempts = 0")
        .await
        .unwrap();
    work().await;
    let told: i64 =
        admin.query_one("select count(*) from notifications where user_id = $1", &[&user]).await.unwrap().get(0);
    let left: i64 = admin.query_one("select count(*) from jobs", &[]).await.unwrap().get(0);
    assert_eq!((told, left), (1, 0));
}

/// Such as a job that kills its worker each time, and therefore is never put back.
#[tokio::test]
async fn a_job_that_was_claimed_ten_times_is_given_up() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let (company, user) = company_and_user(&admin).await;
    let insert = "insert into jobs (tenant_id, company_id, user_id, kind, record_id) values ($1, $1, $2, 'unanswered', gen_random_uuid())";
    admin.execute(insert, &[&company, &user]).await.unwrap();
    let db = Db::new(&own.api, 2).unwrap();
    let claim = async || {
        admin.execute("update jobs set run_at = now()", &[]).await.unwrap();
        db.platform().claim_jobs(jobs::KINDS, 10, &[]).await.unwrap().len()
    };
    for _ in 0..10 {
        assert_eq!(claim().await, 1);
    }
    assert_eq!((claim().await, claim().await), (0, 0));
    let job = admin.query_one("select failed_at is not null, last_error from jobs", &[]).await.unwrap();
    assert_eq!((job.get(0), job.get(1)), (true, "given up after 10 claims"));
}

#[tokio::test]
async fn what_a_job_that_is_given_up_was_about_says_so() {
    let own = OwnDatabase::new().await;
    let acme = World::served(&own, Config { worker: Switch::Off, ..config() }).await;
    let db = Db::new(&own.api, 2).unwrap();
    acme.listen(&["deal_created"]).await;
    let insert = "with campaign as (
        insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients)
          values ($1, $1, $2, 'C', 'S', 'B', 'draft', 3) returning id
      ), recipient as (
        insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email, state)
          select $1, $1, $2, id, state || '@x.example', state from campaign, unnest(array['sent', 'sending', 'pending']) state
      )
      insert into scheduled_sms (tenant_id, company_id, user_id, from_address, to_address, body, scheduled_at)
        values ($1, $1, $2, '+14155550100', '+14155550101', 'Text', now())";
    // By a claim too many, and by the failure of the last attempt.
    for by_claim in [true, false] {
        acme.db.execute(insert, &[&acme.company, &acme.admin.id]).await.unwrap();
        acme.db.execute("update campaigns set status = 'sending' where status = 'draft'", &[]).await.unwrap();
        acme.admin
            .post("/api/deals/", json!({"title": Uuid::new_v4(), "value": 1, "stage_id": "Lead"}))
            .await
            .expect(200);
        let step = "insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status)
            select tenant_id, company_id, user_id, id, 0, 'wait', 'waiting' from workflow_executions where status = 'running'";
        acme.db.execute(step, &[]).await.unwrap();
        acme.db.execute("update jobs set attempts = 10, run_at = now()", &[]).await.unwrap();
        if by_claim {
            assert!(db.platform().claim_jobs(jobs::KINDS, 10, &[]).await.unwrap().is_empty());
        } else {
            for job in acme.db.query("select id from jobs where failed_at is null", &[]).await.unwrap() {
                db.platform().retry_job(job.get(0), "an internal reason").await.unwrap();
            }
        }
        let open = "select (select count(*) from campaigns where status = 'sending')
            + (select count(*) from campaign_recipients where state = 'sending')
            + (select count(*) from workflow_executions where status = 'running')
            + (select count(*) from workflow_steps where status = 'waiting')
            + (select count(*) from scheduled_sms where not is_cancelled) + (select count(*) from jobs where failed_at is null)";
        assert_eq!(acme.value::<i64>(open, &[]).await, 0);
    }
    let said = "select distinct error_message from (select error_message from campaigns union all select error_message from workflow_executions
        union all select error_message from workflow_steps union all select error_message from scheduled_sms) all_of_them";
    let said = acme.db.query(said, &[]).await.unwrap();
    assert_eq!(said.len(), 1);
    assert!(said[0].get::<_, String>(0).contains("tried ten times"));
    let states = "select string_agg(state, ' ' order by state) from campaign_recipients";
    assert_eq!(acme.value::<String>(states, &[]).await, "failed failed pending pending sent sent");
    let steps =
        "select sum(failure_count) from workflow_executions where status = 'failed' and completed_at is not null";
    assert_eq!(acme.value::<i64>(steps, &[]).await, 2);
    own.drop().await;
}

#[tokio::test]
async fn every_kind_that_the_database_enqueues_has_a_runner() {
    let world = World::new().await;
    let sources =
        world.db.query("select prosrc from pg_proc where prosrc like '%into public.jobs%'", &[]).await.unwrap();
    assert!(!sources.is_empty());
    for source in sources.iter().map(|r| r.get::<_, String>(0)) {
        let kind = source.split("into public.jobs").nth(1).unwrap().split('\'').nth(1).unwrap();
        assert!(jobs::KINDS.contains(&kind), "a job {kind} is enqueued and src/jobs/mod.rs has none of that name");
    }
}

#[tokio::test]
async fn a_claim_reads_few_jobs_when_many_have_just_come_due() {
    let own = OwnDatabase::new().await;
    let mut admin = db::connect(&own.admin).await.unwrap();
    let later = "insert into companies (name) select 'Company ' || n from generate_series(1, 200) n;
        select app.add_user(id || '@x.example', 'x', 'A', 'B', 'company_user', id, 'active') from companies;
        insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
            select u.company_id, u.company_id, u.id, kind, gen_random_uuid(), now() + interval '1 day'
            from users u, unnest('{activity_due,scheduled_sms,workflow_run}'::text[]) kind, generate_series(1, 10);
        vacuum analyze jobs";
    for statement in later.split(';') {
        admin.batch_execute(statement).await.unwrap();
    }
    // The statistics do not include these rows.
    let due = "insert into jobs (tenant_id, company_id, user_id, kind, record_id)
        select company_id, company_id, id, 'workflow_run', gen_random_uuid()
        from (select id, company_id from users limit 1) u, generate_series(1, 5000)";
    admin.batch_execute(due).await.unwrap();
    let tx = admin.transaction().await.unwrap();
    let claim = "select count(*) from app.claim_jobs($1, 16, 20, 16, '{}', '{}')";
    let claimed: i64 = tx.query_one(claim, &[&jobs::KINDS]).await.unwrap().get(0);
    let read = "select sum(pg_stat_get_xact_tuples_returned(indexrelid))::bigint from pg_index where indrelid = 'jobs'::regclass";
    let read: i64 = tx.query_one(read, &[]).await.unwrap().get(0);
    assert!(claimed == 16 && read < 5000, "{claimed} claimed, {read} read");
    tx.rollback().await.unwrap();
    drop(admin);
    own.drop().await;
}

#[tokio::test]
async fn a_company_with_many_jobs_does_not_hold_up_another() {
    let own = OwnDatabase::new().await;
    let admin = db::connect(&own.admin).await.unwrap();
    let mut companies = Vec::new();
    for (name, jobs) in [("many", 500_i32), ("one", 1)] {
        let company: Uuid =
            admin.query_one("insert into companies (name) values ($1) returning id", &[&name]).await.unwrap().get(0);
        let add = "select id from app.add_user($2 || '@x.example', 'x', 'A', 'B', 'company_user', $1, 'active')";
        let user: Uuid = admin.query_one(add, &[&company, &name]).await.unwrap().get(0);
        let due = "insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
            select $1, $1, $2, 'activity_due', gen_random_uuid(), now() - make_interval(secs => 1000 - n) from generate_series(1, $3) n";
        admin.execute(due, &[&company, &user, &jobs]).await.unwrap();
        companies.push(company);
    }
    // No worker takes a historical row.
    let historical = "insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
        select tenant_id, null, user_id, kind, gen_random_uuid(), now() - interval '1 day' from jobs where tenant_id = $1 limit 1";
    assert_eq!(admin.execute(historical, &[&companies[1]]).await.unwrap(), 1);
    let db = Db::new(&own.api, 2).unwrap();
    let claimed = db.platform().claim_jobs(jobs::KINDS, 8, &[]).await.unwrap();
    assert_eq!(claimed.len(), 8);
    assert_eq!(claimed.iter().filter(|job| job.company_id == companies[1]).count(), 1, "each has its turn");
    let claim = async |running: &[(Uuid, &str)]| db.platform().claim_jobs(jobs::KINDS, 8, running).await.unwrap();
    let runs = |number| vec![(companies[0], "workflow_run"); number];
    let reminders = |number| vec![(companies[0], "activity_due"); number];
    for enough in [runs(20), reminders(16), [runs(10), reminders(10)].concat()] {
        assert!(claim(&enough).await.is_empty(), "the busy one waits");
    }
    assert_eq!(claim(&runs(16)).await.len(), 4, "as much as there is room for");
    assert_eq!(claim(&reminders(14)).await.len(), 2, "of one kind, too");
    assert_eq!(claim(&[(companies[1], "activity_due")].repeat(100)).await.len(), 8, "another's are no concern of its");

    // The runs of an import are due before a text is.
    let due = "insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
        select tenant_id, tenant_id, user_id, kind, gen_random_uuid(), now() - make_interval(hours => hours)
        from members, unnest(array[1, 1, 2], array['scheduled_sms', 'campaign', 'workflow_run']) k (hours, kind) where tenant_id = $1";
    admin.execute(due, &[&companies[0]]).await.unwrap();
    let kinds = |claimed: Vec<Job>| claimed.into_iter().map(|job| job.kind).collect::<BTreeSet<_>>();
    let all = ["activity_due", "campaign", "scheduled_sms", "workflow_run"].map(String::from);
    assert_eq!(kinds(claim(&[]).await), BTreeSet::from(all), "each kind has its turn");
    admin
        .execute("update jobs set run_at = now() - interval '1 hour' where kind <> 'activity_due'", &[])
        .await
        .unwrap();
    let others = ["campaign", "scheduled_sms", "workflow_run"].map(String::from);
    assert_eq!(kinds(claim(&reminders(16)).await), BTreeSet::from(others), "however many of one kind are under way");

    // As a program from before migration 88 claims jobs.
    let older = "select count(*) from app.claim_jobs($1, 8, $2::uuid[])";
    let before = async |busy: &[Uuid]| -> i64 {
        let api = db::connect(&own.api).await.unwrap();
        api.query_one(older, &[&jobs::KINDS, &busy]).await.unwrap().get(0)
    };
    assert_eq!((before(&companies[..1]).await, before(&[]).await), (0, 8));
}
