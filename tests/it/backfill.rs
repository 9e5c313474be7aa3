//! Historical rows get their company: killed twice, resumed, verified, undone, finished, and isolated throughout.

use crate::support::{
    command::{configured, psql, ringfence, run, text},
    database::{OwnDatabase, enter, until},
    world::{World, add_person},
};
use ringfence::{commands::doctor, db};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

const TABLES: [(&str, &str); 10] = [
    ("sms_messages", "user_id"),
    ("calls", "user_id"),
    ("contacts", "owner_id"),
    ("activities", "owner_id"),
    ("files", "owner_id"),
    ("deals", "owner_id"),
    ("emails", "user_id"),
    ("quotes", "owner_id"),
    ("folders", "owner_id"),
    ("workflows", "owner_id"),
];

/// Adds historical rows of every kind of a user in this tenant.
async fn add_historical(db: &Client, tenant: Uuid, user: Uuid, amount: i32) {
    let ids: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&tenant, &user, &amount];
    for insert in [
        "insert into sms_messages (id, tenant_id, company_id, user_id, direction, status, from_address, to_address, body, twilio_sid)
           select gen_random_uuid(), $1, null, $2, 'outbound', 'queued', '+1', '+2', 'old ' || n, 'sid ' || n || $2::uuid::text from generate_series(1, $3) n",
        "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address)
           select $1, null, $2, 'outbound', 'initiated', '+1', '+2' from generate_series(1, $3 / 10 + 1) n",
        "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
           select $1, null, $2, 'Old', n::text, n || $2::uuid::text || '@example.com' from generate_series(1, $3 / 10 + 1) n",
        // Completed activities without a time and open ones with one: a trigger, if it ran, would correct them.
        "insert into activities (tenant_id, company_id, owner_id, type, subject, status, due_date)
           select $1, null, $2, 'call', 'old ' || n, case n % 2 when 0 then 'pending' else 'completed' end, now() + interval '1 day' from generate_series(1, $3 / 10 + 1) n",
        "insert into files (tenant_id, company_id, owner_id, name, original_name, size)
           select $1, null, $2, 'old ' || n, 'old', 10 from generate_series(1, $3 / 10 + 1) n",
        // In the stages of the company; a user without company has no deals.
        "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status)
           select $1, null, $2, 'old ' || n, n, s.pipeline_id, s.id, case n % 3 when 0 then 'won' else 'open' end
           from generate_series(1, $3 / 10 + 1) n, (select pipeline_id, id from pipeline_stages where tenant_id = $1 order by id limit 1) s",
        "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body)
           select $1, null, $2, 'inbound', 'received', 'a@example.com', 'b@example.com', 'old ' || n, '' from generate_series(1, $3 / 10 + 1) n",
        "insert into quotes (tenant_id, company_id, owner_id, quote_number, title, amount, status)
           select $1, null, $2, 'old ' || n || $2::uuid::text, 'old', n, 'sent' from generate_series(1, $3 / 10 + 1) n",
        "insert into folders (tenant_id, company_id, owner_id, name)
           select $1, null, $2, 'old ' || n from generate_series(1, $3 / 10 + 1) n",
        "insert into workflows (tenant_id, company_id, owner_id, name, status, trigger)
           select $1, null, $2, 'old ' || n || $2::uuid::text, 'active', 'scheduled' from generate_series(1, $3 / 10 + 1) n",
    ] {
        db.execute(insert, &ids).await.unwrap();
    }
    db.batch_execute("set session_replication_role = replica; update activities set completed_at = case status when 'pending' then now() end where company_id is null; reset session_replication_role").await.unwrap();
}

/// Two companies with users who have historical rows, users without company, and colleagues without historical rows.
async fn companies(own: &OwnDatabase, amount: i32) -> (World, World, Vec<Uuid>) {
    let (a, b) = (World::within(&own.admin, "Alpha").await, World::within(&own.admin, "Beta").await);
    let lone = [
        add_person(&a.db, "lone", "Regular User", None).await.id,
        add_person(&a.db, "lone", "Regular User", None).await.id,
    ];
    for (tenant, user, amount) in [
        (a.company, a.admin.id, amount),
        (a.company, a.member.id, amount / 3),
        (b.company, b.member.id, amount / 2),
        (lone[0], lone[0], 20),
    ] {
        add_historical(&a.db, tenant, user, amount).await;
    }
    let people = [a.admin.id, a.member.id, b.admin.id, b.member.id, lone[0], lone[1]];
    (a, b, people.into())
}

/// Everything in the tables of the companies, byte for byte.
async fn contents(db: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for table in crate::support::seed::tables(db).await.into_iter().filter(|t| !t.starts_with("app.backfill")) {
        // Of sums, only their totals count.
        let rows = match table.as_str() {
            "deal_sums" => "(select tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status, sum(deals), sum(value), sum(stage_seconds),
                sum(running), sum(closed), sum(closed_seconds) from deal_sums group by 1, 2, 3, 4, 5, 6, 7 having sum(deals) <> 0)",
            "companies" => "(select to_jsonb(c) - 'storage_bytes' - 'file_count' as t from companies c)",
            name => name,
        };
        let sql = format!("select coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {rows} t");
        all.insert(table, db.query_one(&sql, &[]).await.unwrap().get(0));
    }
    all
}

/// The indexes of the tables of the companies, by name.
async fn indexes(db: &Client) -> BTreeMap<String, String> {
    let all = "select indexname::text, indexdef from pg_indexes where schemaname = 'public'";
    db.query(all, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

type Visible = BTreeMap<Uuid, BTreeSet<(String, Uuid, Uuid)>>;

/// What each of these users sees through the policies: table, id, and owner.
async fn visible(own: &OwnDatabase, admin: &Client, people: &[Uuid]) -> Visible {
    let mut api = db::connect(&own.api).await.unwrap();
    let mut all = Visible::new();
    for user in people {
        let company: Option<Uuid> =
            admin.query_one("select company_id from users where id = $1", &[user]).await.unwrap().get(0);
        let tx = api.transaction().await.unwrap();
        let company = company.map(|c| c.to_string()).unwrap_or_default();
        tx.batch_execute(&enter(company, user)).await.unwrap();
        let seen = all.entry(*user).or_default();
        for (table, owner) in TABLES {
            for row in tx.query(&format!("select id, {owner} from {table}"), &[]).await.unwrap() {
                seen.insert((table.to_owned(), row.get(0), row.get(1)));
            }
        }
    }
    all
}

/// Checks that each user sees all that they saw before, and in addition only rows of colleagues.
fn assert_grown_by_colleagues(before: &Visible, after: &Visible, company_of: &BTreeMap<Uuid, Option<Uuid>>) {
    for (user, was) in before {
        let is_now = &after[user];
        assert!(was.is_subset(is_now), "{user} lost rows");
        for (table, id, owner) in is_now.difference(was) {
            let (mine, theirs) = (company_of[user], company_of[owner]);
            assert!(
                mine.is_some() && mine == theirs && owner != user,
                "{user} of {mine:?} sees {table} {id} of {owner} of {theirs:?}"
            );
        }
    }
}

async fn company_of(db: &Client) -> BTreeMap<Uuid, Option<Uuid>> {
    db.query("select id, company_id from users", &[]).await.unwrap().iter().map(|r| (r.get(0), r.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_twice_loses_nothing_and_can_be_undone() {
    let own = OwnDatabase::new().await;
    let (a, b, people) = companies(&own, 3000).await;
    let (before, seen) = (contents(&a.db).await, visible(&own, &a.db, &people).await);
    let indexes = indexes(&a.db).await;
    let go = |arguments: &[&str]| run(ringfence(&own, &[&["backfill"], arguments].concat()), "");

    let plan = text(&go(&["plan"]).stdout);
    for part in [
        "sms_messages",
        &format!("4,000 -> {}", a.name),
        &format!("1,500 -> {}", b.name),
        "20 stay: the user has no company",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert_eq!(contents(&a.db).await, before, "a plan changes nothing");

    let in_company = "select count(*) from (select company_id from sms_messages union all select company_id from calls union all select company_id from contacts
        union all select company_id from activities union all select company_id from files) x where company_id is not null";
    let mut done = 0;
    for _ in 0..2 {
        let mut command =
            ringfence(&own, &["backfill", "run", "--batch", "100", "--rate", "500", "--stand-ins-from", "1000"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Kills it in the middle of its work, whenever that is on this machine.
        let waiting = done;
        while a.value::<i64>(in_company, &[]).await < waiting + 500 {
            assert!(child.try_wait().unwrap().is_none(), "it was done before it could be killed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        done = a.value(in_company, &[]).await;
    }
    assert!(done < 5000, "{done}");
    // The table of messages is large, so other indexes stand in for its own until the end.
    let stand_ins: Vec<_> = self::indexes(&a.db).await.into_keys().filter(|name| !indexes.contains_key(name)).collect();
    assert_eq!(stand_ins, ["sms_messages_feed_stand_in", "sms_messages_sid_key_stand_in"]);
    // Two at once, from here on.
    let (one, two) = std::thread::scope(|s| {
        let one = s.spawn(|| go(&["run", "--batch", "200", "--workers", "2"]));
        let two = s.spawn(|| go(&["run", "--batch", "200"]));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert!(one.status.success() && two.status.success(), "{}{}", text(&one.stderr), text(&two.stderr));

    assert_eq!(self::indexes(&a.db).await, indexes);
    let after = visible(&own, &a.db, &people).await;
    assert_grown_by_colleagues(&seen, &after, &company_of(&a.db).await);
    assert!(after[&b.admin.id].len() > 1500, "colleagues see them now");
    let left: i64 = a.value("select count(*) from sms_messages where company_id is null", &[]).await;
    assert_eq!(left, 20, "only those that cannot be decided");
    // Nothing else was started, logged or sent because of it.
    let now = contents(&a.db).await;
    for (table, was) in &before {
        let may_change = ["deal_sums", "conversations", "jobs"].contains(&table.as_str())
            || TABLES.iter().any(|(name, _)| name == table);
        assert!(may_change || now[table] == *was, "{table} has changed");
    }
    let others = "select count(*) from jobs where kind <> 'workflow_schedule'";
    assert_eq!(a.value::<i64>(others, &[]).await, 0, "workflows by the clock go on, and nothing else");
    let wrong_sums = "select count(*) from (select company_id, owner_id, status, sum(deals) as deals, sum(value) as value from deal_sums group by 1, 2, 3 having sum(deals) <> 0) s
        full join (select company_id, owner_id, status, count(*) as deals, sum(value) as value from deals group by 1, 2, 3) d
          on (s.company_id, s.owner_id, s.status, s.deals, s.value) = (d.company_id, d.owner_id, d.status, d.deals, d.value)
        where s.owner_id is null or d.owner_id is null";
    assert_eq!(a.value::<i64>(wrong_sums, &[]).await, 0, "the sums follow the deals");
    let files = "select count(*) from companies c cross join lateral (
          select count(*) as files, coalesce(sum(f.size), 0) as bytes from files f
          where f.tenant_id = c.id and f.company_id is not null and not f.is_deleted) own
        where (c.file_count, c.storage_bytes) is distinct from (own.files, own.bytes)";
    assert_eq!(a.value::<i64>(files, &[]).await, 0, "a company's files count from now on");
    let verified = go(&["verify"]);
    assert!(
        verified.status.success() && text(&verified.stdout).contains("ok      sms_messages: 5,500 rows"),
        "{}",
        text(&verified.stdout)
    );
    // Later changes by users are reported; a row moved to another company is found, also if one was deleted there.
    let give =
        "update calls set user_id = $1 where id = (select id from calls where user_id = $2 limit 1) returning id";
    let given: Uuid = a.value(give, &[&a.admin.id, &a.member.id]).await;
    let same = go(&["verify"]);
    let told = "in the company in which they were (given to a colleague since: 1)";
    assert!(same.status.success() && text(&same.stdout).contains(told), "{}", text(&same.stdout));
    a.db.execute("update calls set user_id = $2 where id = $1", &[&given, &a.member.id]).await.unwrap();
    let unbound = db::connect(&own.admin).await.unwrap();
    unbound.batch_execute("set session_replication_role = replica").await.unwrap();
    let move_one = "update calls set tenant_id = $1, company_id = $1, user_id = $2 where id = $3";
    unbound.execute(move_one, &[&b.company, &b.admin.id, &given]).await.unwrap();
    let differs = go(&["verify"]);
    assert!(
        !differs.status.success() && text(&differs.stdout).contains("companies with more rows: 1"),
        "{}",
        text(&differs.stdout)
    );
    unbound.execute(move_one, &[&a.company, &a.member.id, &given]).await.unwrap();
    let deleted = "create temporary table deleted as select * from calls where id = $1";
    unbound.batch_execute(&deleted.replace("$1", &format!("'{given}'"))).await.unwrap();
    unbound.execute("delete from calls where id = $1", &[&given]).await.unwrap();
    let same = go(&["verify"]);
    let told = "(deleted since, or claimed when their user moved: 1)";
    assert!(same.status.success() && text(&same.stdout).contains(told), "{}", text(&same.stdout));
    unbound.batch_execute("insert into calls select * from deleted").await.unwrap();
    let later = "insert into calls select (jsonb_populate_record(d, jsonb_build_object('id', app.uuid_v7(), 'company_id', null))).* from deleted d";
    unbound.batch_execute(later).await.unwrap();
    let same = go(&["verify"]);
    let told = "(came in since, for another run: 1)";
    assert!(same.status.success() && text(&same.stdout).contains(told), "{}", text(&same.stdout));
    unbound.batch_execute("delete from calls where company_id is null and id not in (select id from deleted) and created_at = (select created_at from deleted)").await.unwrap();

    let undone = go(&["undo"]);
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    assert_eq!(contents(&a.db).await, before, "byte for byte");
    assert_eq!(a.value::<i64>(files, &[]).await, 0, "and no more from now on");
    assert_eq!(visible(&own, &a.db, &people).await, seen);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_done_at_psql_and_finished() {
    let own = OwnDatabase::new().await;
    let (a, _, people) = companies(&own, 200).await;
    let lone = people[4];
    let plain = |name: &str| {
        std::fs::read_to_string(format!("{}/sql/ops/backfill/{name}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    // A contact whose address the company already has, and two historical ones with the same address.
    for (company, email) in [
        (Some(a.company), "twice@example.com"),
        (None, "twice@example.com"),
        (None, "both@example.com"),
        (None, "both@example.com"),
    ] {
        let insert = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, $2, $3, 'A', 'B', $4)";
        a.db.execute(insert, &[&a.company, &company, &a.admin.id, &email]).await.unwrap();
    }

    // Refused to a role that sees no rows through the policies.
    for role in ["ringfence_owner", "ringfence_platform"] {
        let weak = db::connect(&own.admin).await.unwrap();
        weak.batch_execute(&format!("grant execute on function app.require_bypass(), app.open_backfill(int), app.backfill_step(int), app.undo_backfill_step(), app.backfill_plan() to {role}; set role {role}"))
            .await
            .unwrap();
        for refused in [
            "select app.open_backfill()",
            "select app.backfill_step()",
            "select app.undo_backfill_step()",
            "select app.backfill_plan()",
        ] {
            let refused = weak.batch_execute(refused).await.unwrap_err();
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused:?}");
        }
    }
    let dba = db::connect(&own.admin).await.unwrap();
    dba.batch_execute("set role ringfence_dba").await.unwrap();
    let collisions = dba.query("select * from app.backfill_collisions()", &[]).await.unwrap();
    assert_eq!(collisions.len(), 1);
    assert_eq!(
        (collisions[0].get::<_, String>(1), collisions[0].get::<_, i64>(2)),
        ("contacts_tenant_email_key".into(), 2)
    );
    dba.batch_execute(&plain("plan")).await.unwrap();
    dba.batch_execute(&plain("run")).await.unwrap();
    dba.batch_execute(&plain("run")).await.unwrap();
    let verified = dba.query(plain("verify").trim().trim_end_matches(';'), &[]).await.unwrap();
    assert!(
        verified.len() == TABLES.len() && verified.iter().all(|r| r.get::<_, Option<String>>("problem").is_none()),
        "{verified:?}"
    );
    let stayed: i64 =
        a.value("select count(*) from contacts where company_id is null and tenant_id = $1", &[&a.company]).await;
    assert_eq!(stayed, 2);

    // Rows whose collision was resolved are included in the next run.
    a.db.execute(
        "update contacts set email = 'settled@example.com' where company_id is null and email = 'both@example.com'",
        &[],
    )
    .await
    .unwrap();
    dba.batch_execute(&plain("run")).await.unwrap();
    let stayed = "select string_agg(x.email, ' ') from contacts x join app.backfill_collision k on k.id = x.id and k.target = 'contacts'
        where x.company_id is null and x.tenant_id = $1";
    assert_eq!(a.value::<String>(stayed, &[&a.company]).await, "twice@example.com");

    // A user who gets a company later brings their rows along; the next run includes them.
    a.db.execute("select app.assign_company($1, $2)", &[&lone, &a.company]).await.unwrap();
    dba.batch_execute(&plain("run")).await.unwrap();
    assert_eq!(a.value::<i64>("select count(*) from sms_messages where company_id is null", &[]).await, 0);
    let verified = dba.query(plain("verify").trim().trim_end_matches(';'), &[]).await.unwrap();
    assert!(verified.iter().all(|r| r.get::<_, Option<String>>("problem").is_none()), "{verified:?}");

    // Rows of a user who has left stay with the company: as historical rows, nobody would see them.
    a.db.execute("update users set company_id = null where id = $1", &[&lone]).await.unwrap();
    dba.batch_execute(&plain("undo")).await.unwrap();
    assert_eq!(
        a.value::<i64>(
            "select count(*) from sms_messages where user_id = $1 and company_id = $2",
            &[&lone, &a.company]
        )
        .await,
        20
    );
    a.db.execute("delete from contacts where email in ('twice@example.com', 'both@example.com')", &[]).await.unwrap();
    for (table, owner) in TABLES {
        let sql = format!("select count(*) from {table} where company_id is not null and {owner} <> $1");
        assert_eq!(a.value::<i64>(&sql, &[&lone]).await, 0, "{table}");
    }

    // `finish` leaves out tables that have historical rows; the others require a company from then on.
    a.db.batch_execute(&plain("finish")).await.unwrap();
    let open = "select count(*) from pg_attribute where attrelid = 'sms_messages'::regclass and attname = 'company_id' and not attnotnull";
    assert_eq!(a.value::<i64>(open, &[]).await, 1);
    dba.batch_execute(&plain("run")).await.unwrap();
    a.db.batch_execute(&plain("finish")).await.unwrap();
    assert_eq!(a.value::<i64>(open, &[]).await, 0);
    let refused = dba.batch_execute(&plain("undo")).await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("was finished"), "{refused:?}");
    let api = db::connect(&own.api).await.unwrap();
    let findings = doctor::findings(&api, doctor::rules()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
    doctor::check_before_serving(&own.api).await.unwrap();
    // The API goes on with the simple policy.
    let world = World::alone(&own).await;
    world.contact("After", "Finish").await;
    assert_eq!(world.member.get("/api/contacts/").await.expect(200)[0]["first_name"], "After");
    drop((dba, api, world));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_a_company_during_a_run_makes_it_no_wrong_one() {
    let own = OwnDatabase::new().await;
    let (a, b, people) = companies(&own, 50).await;
    let lone = people[4];
    a.db.execute("select app.open_backfill(1, true)", &[]).await.unwrap();
    a.db.execute("select app.assign_company($1, $2)", &[&lone, &a.company]).await.unwrap();
    while !a.value::<bool>("select is_done from app.backfill_step(1000)", &[]).await {}
    let given = "select count(*) from sms_messages where user_id = $1 and company_id = $2";
    assert_eq!(a.value::<i64>(given, &[&lone, &a.company]).await, 20);
    let verify = || run(ringfence(&own, &["backfill", "verify"]), "");
    let verified = verify();
    let said = text(&verified.stdout);
    assert!(verified.status.success() && said.contains("(came with a user who had no company before: 20)"), "{said}");
    // Such rows of any other user are still found.
    let unbound = db::connect(&own.admin).await.unwrap();
    unbound.batch_execute("set session_replication_role = replica").await.unwrap();
    let stolen = "update calls set tenant_id = $1, company_id = $1, user_id = $2 where user_id = $3";
    assert!(unbound.execute(stolen, &[&a.company, &a.member.id, &b.member.id]).await.unwrap() > 0);
    let differs = verify();
    let said = text(&differs.stdout);
    assert!(!differs.status.success() && said.contains("companies with more rows: 1"), "{said}");
    drop((a, b, unbound));
    own.drop().await;
}

/// A number can be in use by only one company; that another company has it, too, is nobody's mistake.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_company_uses_is_switched_off_when_it_gets_its_company() {
    let own = OwnDatabase::new().await;
    let (a, b) = (World::within(&own.admin, "Alpha").await, World::within(&own.admin, "Beta").await);
    let add = "insert into phone_numbers (tenant_id, company_id, user_id, phone_number) values ($1, $2, $3, $4)";
    let none = None::<Uuid>;
    for (company, user, number) in [(none, &a.admin, "used"), (none, &a.admin, "free"), (none, &a.member, "moved")] {
        a.db.execute(add, &[&a.company, &company, &user.id, &number]).await.unwrap();
    }
    for number in ["used", "moved"] {
        a.db.execute(add, &[&b.company, &Some(b.company), &b.admin.id, &number]).await.unwrap();
    }
    // A user who moves leaves their number with the company, too.
    let moved = run(ringfence(&own, &["user", "assign", &a.member.email, "--company", &b.name]), "");
    assert!(moved.status.success(), "{}", text(&moved.stderr));
    let planned = run(ringfence(&own, &["backfill", "plan"]), "");
    let said = text(&planned.stdout);
    assert!(said.contains("phone_numbers: 1 are switched off") && !said.contains("rows stay"), "{said}");
    for command in ["run", "verify"] {
        let done = run(ringfence(&own, &["backfill", command]), "");
        assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    }
    let numbers = "select string_agg(phone_number || ' ' || is_active, ', ' order by phone_number) from phone_numbers where company_id = $1";
    assert_eq!(a.value::<String>(numbers, &[&a.company]).await, "free true, moved false, used false");
    assert_eq!(a.value::<String>(numbers, &[&b.company]).await, "moved true, used true");
    drop((a, b));
    own.drop().await;
}

/// As a login with the role ringfence_dba and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_dba_who_owns_nothing_backfills_and_takes_it_back() {
    let own = OwnDatabase::new().await;
    let (a, b, _) = companies(&own, 30).await;
    let login = format!("dba_{}", Uuid::new_v4().simple());
    a.db.batch_execute(&format!("create role {login} login in role ringfence_dba")).await.unwrap();
    let before = contents(&a.db).await;
    for command in ["plan", "run", "verify", "undo"] {
        let mut program = ringfence(&own, &["backfill", command]);
        program.env("DATABASE_ADMIN_URL", own.admin.replace("ringfence_admin", &login));
        let done = run(program, "");
        assert!(done.status.success(), "{command}: {}{}", text(&done.stdout), text(&done.stderr));
    }
    assert_eq!(contents(&a.db).await, before);
    a.db.batch_execute(&format!("drop role {login}")).await.unwrap();
    drop((a, b));
    own.drop().await;
}

/// Imports during a run or between an interrupted run and the next, and a company that is restored.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_since_a_run_began_is_no_difference() {
    let own = OwnDatabase::new().await;
    let (a, b, _) = companies(&own, 30).await;
    let go = |arguments: &[&str]| {
        let done = run(configured(&own, arguments), "");
        assert!(done.status.success(), "{arguments:?}: {}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    };
    // On the last page, which the run still reaches.
    a.db.execute("select app.open_backfill(1, true)", &[]).await.unwrap();
    add_historical(&a.db, a.company, a.member.id, 7).await;
    while !a.value::<bool>("select is_done from app.backfill_step(1000)", &[]).await {}
    go(&["backfill", "run"]);
    let said = go(&["backfill", "verify"]);
    assert!(
        said.contains(
            "calls: 9 rows of 3 users are in the company in which they were (came in since the run began: 1)"
        ),
        "{said}"
    );

    // The whole company is erased, and restored with its ids.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verified-{}", own.name));
    std::fs::create_dir(&folder).unwrap();
    let zip = folder.join("b.zip");
    let zip = zip.to_str().unwrap();
    go(&["archive", "export", "--company", &b.name, "--to", zip]);
    go(&["erase", "company", &b.name, "--yes"]);
    go(&["backfill", "verify"]);
    go(&["archive", "import", zip]);
    go(&["backfill", "verify"]);
    drop((a, b));
    own.drop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_takes_back_what_was_not_finished() {
    let own = OwnDatabase::new().await;
    let (a, _, people) = companies(&own, 50).await;
    let go = |command: &str| run(ringfence(&own, &["backfill", command]), "");
    let historical = async |table: &str| -> i64 {
        a.value(&format!("select count(*) from {table} where company_id is null"), &[]).await
    };
    let (contacts, messages) = (historical("contacts").await, historical("sms_messages").await);
    assert!(go("run").status.success());
    // Deals are finished; the other tables keep the rows of a user without company.
    let finished = go("finish");
    assert!(finished.status.success(), "{}", text(&finished.stderr));
    assert_eq!(historical("contacts").await, 3);
    // As an interrupted `finish` leaves a table.
    let broken_off =
        "alter table sms_messages add constraint backfill_finished check (company_id is not null) not valid";
    a.db.batch_execute(broken_off).await.unwrap();
    let undone = go("undo");
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    let said = text(&undone.stdout);
    assert!(said.contains("keep their company: their tables are finished"), "{said}");
    assert_eq!((historical("contacts").await, historical("sms_messages").await), (contacts, messages));
    assert_eq!(historical("deals").await, 0);
    let nothing = text(&go("undo").stderr);
    assert!(nothing.contains("deals was finished"), "{nothing}");

    // psql prints no notices about what does not exist.
    a.db.execute("delete from sms_messages where user_id = $1", &[&people[4]]).await.unwrap();
    assert!(go("run").status.success());
    let said = psql(&own.admin, "\\i sql/ops/backfill/finish.sql\n");
    assert!(!said.contains("skipping") && said.contains("contacts has historical rows"), "{said}");
    let open = "select count(*) from pg_attribute where attrelid = 'sms_messages'::regclass and attname = 'company_id' and not attnotnull";
    assert_eq!(a.value::<i64>(open, &[]).await, 0);
    own.drop().await;
}

/// Only its user sees a historical row, so a row that undo would hide from or show to others keeps its company.
#[tokio::test(flavor = "multi_thread")]
async fn undo_leaves_what_is_a_colleagues_by_now() {
    let own = OwnDatabase::new().await;
    let a = World::within(&own.admin, "Alpha").await;
    let ids: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&a.company, &a.admin.id];
    for insert in [
        "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
         select $1, null, $2, n, 'Old', n || '@example.com' from unnest(array['given', 'kept']) n",
        "insert into pipelines (tenant_id, company_id, owner_id, name) select $1, null, $2, n from unnest(array['own', 'shared', 'followed']) n",
        "insert into pipeline_stages (tenant_id, company_id, owner_id, pipeline_id, name)
         select $1, null, $2, id, name from pipelines where tenant_id = $1 and company_id is null",
        "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status)
         select $1, null, $2, name, 1, pipeline_id, id, 'open' from pipeline_stages where tenant_id = $1 and company_id is null",
    ] {
        a.db.execute(insert, &ids).await.unwrap();
    }
    assert!(run(ringfence(&own, &["backfill", "run"]), "").status.success());
    let ids: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&a.company, &a.member.id];
    for change in [
        "update contacts set owner_id = $2 where tenant_id = $1 and first_name = 'given'",
        "update deals set owner_id = $2 where tenant_id = $1 and title = 'followed'",
        "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status)
         select $1, $1, $2, 'new', 1, pipeline_id, id, 'open' from pipeline_stages where tenant_id = $1 and name = 'shared'",
    ] {
        assert_eq!(a.db.execute(change, &ids).await.unwrap(), 1, "{change}");
    }
    let undone = run(ringfence(&own, &["backfill", "undo"]), "");
    let said = text(&undone.stdout);
    assert!(undone.status.success() && said.contains("6 stayed: "), "{said}{}", text(&undone.stderr));
    for (table, name, historical) in [
        ("contacts", "first_name", "kept"),
        ("pipelines", "name", "own"),
        ("pipeline_stages", "name", "own"),
        ("deals", "title", "own,shared"),
    ] {
        let names = format!("select string_agg({name}, ',' order by {name}) from {table} where company_id is null");
        assert_eq!(a.value::<String>(&names, &[]).await, historical, "{table}");
    }
    drop(a);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_an_undo_do_not_go_on_together() {
    let own = OwnDatabase::new().await;
    let (a, _, _) = companies(&own, 1000).await;
    let moved = "select coalesce(sum(row_count), 0)::bigint from app.backfill";
    let mut command = ringfence(&own, &["backfill", "run", "--batch", "10", "--rate", "50"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while a.value::<i64>(moved, &[]).await == 0 {
        assert!(child.try_wait().unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dba = db::connect(&own.admin).await.unwrap();
    dba.batch_execute("set role ringfence_dba").await.unwrap();
    let undo = || run(ringfence(&own, &["backfill", "undo"]), "");
    let sentence = "a backfill is being run by process";
    assert!(text(&undo().stderr).contains(sentence), "{}", text(&undo().stderr));
    let refused = dba.batch_execute("call app.undo_backfill()").await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains(sentence), "{refused:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let alone = "select pg_try_advisory_lock(hashtext('ringfence backfill'), 1)";
    until("its session has ended", async || a.value::<bool>(alone, &[]).await).await;

    // The other way round: an undo holds the lock.
    let sentence = "a backfill is being undone by process";
    let refused = run(ringfence(&own, &["backfill", "run"]), "");
    assert!(text(&refused.stderr).contains(sentence), "{}", text(&refused.stderr));
    let refused = dba.batch_execute("call app.run_backfill()").await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains(sentence), "{refused:?}");
    a.db.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    assert!(undo().status.success());
    // Neither lock is held after the end.
    dba.batch_execute("call app.run_backfill()").await.unwrap();
    assert!(undo().status.success());
    dba.batch_execute("call app.undo_backfill()").await.unwrap();
    assert!(run(ringfence(&own, &["backfill", "run"]), "").status.success());
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_api_changes_meanwhile_are_all_there() {
    let own = OwnDatabase::new().await;
    let (a, _, people) = companies(&own, 1500).await;
    let seen = visible(&own, &a.db, &people).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (url, company, user, stopped) = (own.api.clone(), a.company, a.admin.id, stop.clone());
    let api = tokio::spawn(async move {
        let mut api = db::connect(&url).await.unwrap();
        let mut changed = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let tx = api.transaction().await.unwrap();
            tx.batch_execute(&enter(company, user)).await.unwrap();
            let update = "update sms_messages set read_at = now() where id = (select id from sms_messages where user_id = app.user_id() and read_at is null order by random() limit 1)";
            changed += tx.execute(update, &[]).await.unwrap();
            tx.commit().await.unwrap();
        }
        changed
    });
    let done = run(ringfence(&own, &["backfill", "run", "--batch", "50", "--workers", "2"]), "");
    assert!(done.status.success(), "{}", text(&done.stderr));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let changed = api.await.unwrap();
    assert!(changed > 0);
    assert_eq!(
        a.value::<i64>("select count(*) from sms_messages where read_at is not null", &[]).await,
        i64::try_from(changed).unwrap()
    );
    assert_eq!(
        a.value::<i64>(
            "select count(*) from sms_messages where company_id is null and tenant_id in (select id from companies)",
            &[]
        )
        .await,
        0
    );
    let after = visible(&own, &a.db, &people).await;
    assert_grown_by_colleagues(&seen, &after, &company_of(&a.db).await);
    assert!(run(ringfence(&own, &["backfill", "verify"]), "").status.success());
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_large_tables_stay_on_their_pages() {
    let own = OwnDatabase::new().await;
    let made = run(ringfence(&own, &["demo", "--companies", "2", "--contacts", "20", "--historical", "3000"]), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let db = db::connect(&own.admin).await.unwrap();
    let before = indexes(&db).await;
    let value = async |sql: &str| -> i64 { db.query_one(sql, &[]).await.unwrap().get(0) };
    let options =
        "select count(*) from pg_class where oid = 'sms_messages'::regclass and reloptions = '{fillfactor=70}'";
    assert_eq!(value(options).await, 1, "there is room for it");
    let hot = "select n_tup_hot_upd from pg_stat_user_tables where relid = 'sms_messages'::regclass";

    let done = run(ringfence(&own, &["backfill", "run", "--batch", "100", "--stand-ins-from", "1000"]), "");
    assert!(done.status.success(), "{}", text(&done.stderr));
    until("most rows changed in no index", async || value(hot).await > 2700).await;
    assert_eq!(indexes(&db).await, before);
    assert_eq!(value(options).await, 0, "what comes from now on fills the pages");
    assert!(run(ringfence(&own, &["backfill", "undo"]), "").status.success());

    // With psql. Contacts keep their indexes, because their unique key would apply to rows that writers cannot see.
    db.batch_execute(
        "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email)
         select tenant_id, null, user_id, 'Ada', n::text, greatest(n, 2) || '@example.com'
         from (select tenant_id, user_id from sms_messages order by id limit 1) m, generate_series(1, 20) n; analyze contacts",
    )
    .await
    .unwrap();
    psql(&own.admin, "\\set from_rows 2\n\\i sql/ops/backfill/make_way.psql\n");
    let now = indexes(&db).await;
    let new: Vec<_> = now.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new, ["sms_messages_feed_stand_in", "sms_messages_sid_key_stand_in"]);
    let gone: Vec<_> = before.keys().filter(|name| !now.contains_key(*name)).collect();
    assert_eq!(gone, ["sms_messages_feed", "sms_messages_sid_key"]);
    psql(&own.admin, "set role ringfence_dba;\n\\i sql/ops/backfill/run.sql\n");
    assert_eq!(value("select count(*) from sms_messages where company_id is null").await, 0);
    assert_eq!(value("select count(*) from contacts where company_id is null").await, 1);
    // As a crashed earlier attempt would have left it.
    db.batch_execute("create index sms_messages_feed on sms_messages (tenant_id, created_at desc, id desc) include (company_id, user_id)")
        .await
        .unwrap();
    db.batch_execute("update pg_index set indisvalid = false where indexrelid = 'sms_messages_feed'::regclass")
        .await
        .unwrap();
    let said = psql(&own.admin, "\\i sql/ops/backfill/restore_indexes.psql\n");
    assert_eq!(indexes(&db).await, before, "{said}");
    assert_eq!(value("select count(*) from pg_index where not indisvalid").await, 0);
    assert_eq!(value("select count(*) from app.backfill_index").await, 0);
    drop(db);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_with_historical_rows_is_refused() {
    let own = OwnDatabase::new().await;
    let db = db::connect(&own.admin).await.unwrap();
    let (a, _b, _lone) = companies(&own, 10).await;
    let partition = "set ops.target = 'calls'; set ops.partitions = '2'";
    a.db.batch_execute(partition).await.unwrap();
    a.db.batch_execute(include_str!("../../sql/ops/partition/by_company.sql")).await.unwrap();
    let refused = run(ringfence(&own, &["backfill", "run"]), "");
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
    let said = text(&refused.stderr);
    assert!(
        said.contains("calls has historical rows and is partitioned") && said.contains("update public.calls"),
        "{said}"
    );
    let under_way: i64 = db.query_one("select count(*) from app.backfill", &[]).await.unwrap().get(0);
    assert_eq!(under_way, 0, "nothing of any table was taken up");

    // Once that is done by hand, the rest goes on.
    let by_hand = "update public.calls x set company_id = tenant_id
        where company_id is null and exists (select from companies c where c.id = x.tenant_id)";
    db.batch_execute(by_hand).await.unwrap();
    assert!(run(ringfence(&own, &["backfill", "run"]), "").status.success());
    let texts: i64 = db
        .query_one(
            "select count(*) from sms_messages m join companies c on c.id = m.tenant_id where m.company_id is null",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(texts, 0);
    drop((a, _b, db));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_while_a_backfill_is_undone_leaves_no_rows_behind() {
    let own = OwnDatabase::new().await;
    let (a, b, _) = companies(&own, 200).await;
    assert!(run(ringfence(&own, &["backfill", "run"]), "").status.success());
    let mover = db::connect(&own.admin).await.unwrap();
    mover.batch_execute("set role ringfence_dba; begin").await.unwrap();
    mover.execute("select app.assign_company($1, $2)", &[&a.member.id, &b.company]).await.unwrap();
    let undo = ringfence(&own, &["backfill", "undo"]).stdout(Stdio::null()).spawn().unwrap();
    let waits = "select count(*) from pg_locks where not granted and locktype = 'transactionid'";
    until("undo waits for who moves", async || a.value::<i64>(waits, &[]).await > 0).await;
    mover.batch_execute("commit").await.unwrap();
    assert!(undo.wait_with_output().unwrap().status.success());
    for (table, owner) in TABLES {
        let unseen = format!(
            "select count(*) from {table} x join users u on u.id = x.{owner} where x.company_id is null and u.company_id is distinct from x.tenant_id and u.company_id is not null"
        );
        assert_eq!(a.value::<i64>(&unseen, &[]).await, 0, "{table}");
    }
    drop(mover);
    own.drop().await;
}

/// The number of company texts without a conversation, plus conversations whose counters do not match their texts.
const OUT_OF_CONVERSATION: &str = "select (select count(*) from sms_messages where company_id is not null and conversation_id is null)
  + (select count(*) from conversations c
     left join lateral (select count(*) as texts, count(*) filter (where direction = 'inbound' and read_at is null) as unread, max(created_at) as last_at
       from sms_messages s where s.conversation_id = c.id and s.company_id = c.company_id) t on true
     where (c.message_count, c.unread_count) <> (t.texts, t.unread) or c.last_message_at < t.last_at)";

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_get_their_company_are_in_its_conversations() {
    let own = OwnDatabase::new().await;
    let (a, _, _) = companies(&own, 60).await;
    let go = |command: &str| run(ringfence(&own, &["backfill", command]), "");
    // One customer who has texted the company since, and one who has not.
    let insert = "insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body, created_at)
        values ($1, $2, $3, 'inbound', 'received', $4, '+1', 'T', now() - $5::int * interval '1 day')";
    for (company, from, days) in [(Some(a.company), "+2", 9), (None, "+2", 3), (None, "+3", 1)] {
        a.db.execute(insert, &[&a.company, &company, &a.member.id, &from, &days]).await.unwrap();
    }
    let before = contents(&a.db).await;
    let numbers = "select string_agg(to_number || ' ' || message_count, ', ' order by to_number) from conversations where tenant_id = $1";
    assert_eq!(a.value::<String>(numbers, &[&a.company]).await, "+2 1");

    // Interrupted after the rows have their company, and before their conversations are made.
    a.db.execute("select app.open_backfill(1, true)", &[]).await.unwrap();
    while !a.value::<bool>("select is_done from app.backfill_step(10)", &[]).await {}
    a.db.execute("select app.backfill_conversations_step()", &[]).await.unwrap();
    let verified = go("verify");
    let said = text(&verified.stdout);
    assert!(!verified.status.success() && said.contains("texts in no conversation, for another run"), "{said}");
    assert!(go("run").status.success());
    assert_eq!(a.value::<i64>(OUT_OF_CONVERSATION, &[]).await, 0);
    // 60 texts of the admin, a third as many of the member, and these three.
    assert_eq!(a.value::<String>(numbers, &[&a.company]).await, "+2 82, +3 1");
    let verified = go("verify");
    assert!(verified.status.success(), "{}", text(&verified.stdout));

    let miscount = "update conversations set message_count = message_count + 1 where to_number = '+3' returning id";
    let one: Uuid = a.value(miscount, &[]).await;
    let verified = go("verify");
    let said = text(&verified.stdout);
    assert!(!verified.status.success() && said.contains("count other texts than they have: 1"), "{said}");
    a.db.execute("update conversations set message_count = message_count - 1 where id = $1", &[&one]).await.unwrap();

    // Texts that came in later stay in their conversation when the others leave it.
    let undone = go("undo");
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    assert_eq!(contents(&a.db).await, before, "byte for byte");
    assert!(go("run").status.success());
    a.db.execute(insert, &[&a.company, &Some(a.company), &a.admin.id, &"+3", &0]).await.unwrap();
    assert!(go("undo").status.success());
    assert_eq!(a.value::<i64>(OUT_OF_CONVERSATION, &[]).await, 0);
    assert_eq!(a.value::<String>(numbers, &[&a.company]).await, "+2 1, +3 1");

    // With psql, and for rows that got their company by hand.
    a.db.execute(
        "update sms_messages set company_id = tenant_id where tenant_id = $1 and user_id = $2",
        &[&a.company, &a.member.id],
    )
    .await
    .unwrap();
    psql(&own.admin, "set role ringfence_dba;\n\\i sql/ops/backfill/run.sql\n");
    assert_eq!(a.value::<i64>(OUT_OF_CONVERSATION, &[]).await, 0);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_leaves_texts_in_the_companys_conversations() {
    let own = OwnDatabase::new().await;
    let (a, b, _) = companies(&own, 30).await;
    a.db.execute("select app.assign_company($1, $2)", &[&a.admin.id, &b.company]).await.unwrap();
    let texts = "select count(*) from sms_messages s join conversations c on c.id = s.conversation_id and c.company_id = s.company_id
        where s.company_id = $1 and s.user_id = $2";
    assert_eq!(a.value::<i64>(texts, &[&a.company, &a.admin.id]).await, 30);
    assert_eq!(a.value::<i64>(OUT_OF_CONVERSATION, &[]).await, 0);
    own.drop().await;
}

/// It was switched on before it had a company; nobody has to switch it off and on again.
#[tokio::test(flavor = "multi_thread")]
async fn an_active_workflow_by_the_clock_runs_when_it_has_its_company() {
    let own = OwnDatabase::new().await;
    let world = World::alone(&own).await;
    let old = "insert into workflows (tenant_id, company_id, owner_id, name, status, trigger, schedule, schedule_set_at, actions)
        select $1, null, $2, concat(s, $4::jsonb), s, 'scheduled', $4::jsonb, now() - interval '1 month', $3 from unnest(array['active', 'paused']) s";
    let ping = serde_json::json!([{"type": "send_notification", "config": {"title": "Ping"}}]);
    let passed = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC) - Duration::from_secs(2 * 60 * 60);
    let cron = format!("{} {} * * *", passed.minute(), passed.hour());
    for schedule in [serde_json::json!({"every_minutes": 1}), serde_json::json!({"cron": cron})] {
        world.db.execute(old, &[&world.company, &world.member.id, &ping, &schedule]).await.unwrap();
    }
    let jobs = "select count(*) from jobs where kind = 'workflow_schedule'";
    assert!(run(ringfence(&own, &["backfill", "run"]), "").status.success());
    assert_eq!(world.value::<i64>(jobs, &[]).await, 2);
    let runs =
        "select count(*) from workflow_executions x join workflows w on w.id = x.workflow_id where w.schedule ? $1";
    until("its run", async || world.value::<i64>(runs, &[&"every_minutes"]).await > 0).await;
    let next = "select count(*) from workflows where next_run_at > now()";
    until("the next time", async || world.value::<i64>(next, &[]).await == 1).await;
    assert_eq!(world.value::<i64>(runs, &[&"cron"]).await, 0, "no time counts in which it had no company");
    assert!(run(ringfence(&own, &["backfill", "undo"]), "").status.success());
    assert_eq!(world.value::<i64>(jobs, &[]).await, 0);
    drop(world);
    own.drop().await;
}

/// The commands require the schema of this program's version.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_works_on_another_versions_tables() {
    let own = OwnDatabase::new().await;
    let admin = ringfence::db::connect(&own.admin).await.unwrap();
    let newer =
        "insert into refinery_schema_history (version, name, applied_on, checksum) values (9999, 'later', '', '0')";
    admin.batch_execute(newer).await.unwrap();
    for command in ["plan", "run", "verify", "undo", "finish"] {
        let refused = run(ringfence(&own, &["backfill", command]), "");
        let said = text(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains("of a newer version than this program"),
            "{command}: {said}"
        );
    }
    drop(admin);
    own.drop().await;
}
