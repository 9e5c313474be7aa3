//! Analytics (contract: analytics): compares each figure with an independent computation from the test's own rows.

use crate::support::{
    random::Dice,
    world::{Person, World, answer},
};
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const REPORTS: [&str; 10] =
    ["pipeline", "activities", "revenue", "users", "emails", "calls", "contacts", "documents", "custom", "dashboard"];
const STATUSES: [&str; 4] = ["open", "won", "lost", "abandoned"];
const TYPES: [&str; 6] = ["call", "email", "meeting", "task", "note", "deadline"];
const ZONES: [&str; 4] = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"];

impl Dice {
    fn pick(&mut self, end: usize) -> usize {
        self.below(end as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.pick(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.pick(100) < percent
    }

    /// A moment in the last days, to the second.
    fn moment(&mut self, days: usize) -> Timestamp {
        let ago = self.pick(days * 86400) as i64 + 60;
        Timestamp::from_second(Timestamp::now().as_second() - ago).unwrap()
    }
}

#[derive(Clone)]
struct Deal {
    owner: Uuid,
    pipeline: Uuid,
    stage: Uuid,
    cents: i64,
    status: &'static str,
    created: Timestamp,
    entered: Timestamp,
    closed: Option<Timestamp>,
    deleted: bool,
    historical: bool,
    contact: Option<Uuid>,
}

#[derive(Clone)]
struct Activity {
    owner: Uuid,
    kind: &'static str,
    status: &'static str,
    due: Option<Timestamp>,
    created: Timestamp,
    historical: bool,
}

struct Contact {
    id: Uuid,
    status: &'static str,
    created: Timestamp,
    deleted: bool,
}

#[derive(Clone)]
struct Call {
    user: Uuid,
    status: &'static str,
    seconds: i64,
    recorded: bool,
    created: Timestamp,
}

#[derive(Clone)]
struct Mail {
    user: Uuid,
    status: &'static str,
    inbound: bool,
    sent: Option<Timestamp>,
    opened: Option<Timestamp>,
    clicked: Option<Timestamp>,
}

/// A recipient of a campaign.
#[derive(Clone)]
struct Recipient {
    user: Uuid,
    state: &'static str,
    sent: Option<Timestamp>,
    delivered: Option<Timestamp>,
    opened: Option<Timestamp>,
    clicked: Option<Timestamp>,
    bounced: Option<Timestamp>,
    historical: bool,
}

/// A company with rows of every kind, and what was inserted.
struct Filled {
    world: World,
    zone: TimeZone,
    people: Vec<Person>,
    /// Id, pipeline, name and position.
    stages: Vec<(Uuid, Uuid, String, i32)>,
    deals: Vec<Deal>,
    activities: Vec<Activity>,
    contacts: Vec<Contact>,
    calls: Vec<Call>,
    mails: Vec<Mail>,
    recipients: Vec<Recipient>,
}

fn stamp(time: Timestamp) -> String {
    time.to_string()
}

impl Filled {
    async fn new(dice: &mut Dice) -> Self {
        let world = World::new().await;
        let zone = dice.one(&ZONES);
        world.db.execute("update companies set timezone = $2 where id = $1", &[&world.company, &zone]).await.unwrap();
        world.admin.post("/api/pipelines", json!({"name": "Second"})).await.expect(200);
        let second = "select id from pipelines where tenant_id = $1 and name = 'Second'";
        let second: Uuid = world.value(second, &[&world.company]).await;
        for (name, place) in [("Lead", 0), ("Visit", 7)] {
            let body = json!({"name": name, "order_index": place});
            world.admin.post(&format!("/api/pipelines/{second}/stages"), body).await.expect(200);
        }
        let stages = "select id, pipeline_id, name, order_index from pipeline_stages where tenant_id = $1";
        let stages = world.db.query(stages, &[&world.company]).await.unwrap();
        let stages = stages.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect();
        let people = vec![world.admin.clone(), world.member.clone(), world.person("company_user").await];
        let zone = TimeZone::get(zone).unwrap();
        let empty = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (deals, activities, contacts, calls, mails, recipients) = empty;
        let mut filled = Self { world, zone, people, stages, deals, activities, contacts, calls, mails, recipients };
        filled.make(dice);
        filled.store().await;
        filled
    }

    fn make(&mut self, dice: &mut Dice) {
        let people: Vec<Uuid> = self.people.iter().map(|p| p.id).collect();
        for _ in 0..40 {
            let (status, created) = (dice.one(&["NEW", "LEAD", "CUSTOMER"]), dice.moment(300));
            self.contacts.push(Contact { id: Uuid::now_v7(), status, created, deleted: dice.chance(10) });
        }
        for _ in 0..300 {
            let (stage, pipeline, ..) = self.stages[dice.pick(self.stages.len())].clone();
            let (status, days) = (dice.one(&STATUSES), dice.one(&[20, 60, 400]));
            let created = dice.moment(days);
            let until = |dice: &mut Dice, from: Timestamp| {
                let room = (Timestamp::now().as_second() - from.as_second()).max(1) as usize;
                Timestamp::from_second(from.as_second() + dice.pick(room) as i64).unwrap()
            };
            let entered = until(dice, created);
            let closed = ["won", "lost"].contains(&status).then(|| until(dice, entered));
            let contact = dice.chance(50).then(|| self.contacts[dice.pick(self.contacts.len())].id);
            let cents = dice.pick(10_000_000) as i64;
            let (owner, deleted, historical) = (dice.one(&people), dice.chance(10), dice.chance(10));
            let deal =
                Deal { owner, pipeline, stage, cents, status, created, entered, closed, deleted, historical, contact };
            self.deals.push(deal);
        }
        for _ in 0..300 {
            let status = dice.one(&["completed", "completed", "completed", "pending", "overdue", "cancelled"]);
            let due = dice.chance(80).then(|| {
                let now = Timestamp::now().as_second();
                Timestamp::from_second(now + dice.pick(60 * 86400) as i64 - 30 * 86400).unwrap()
            });
            let (owner, kind, created, historical) =
                (dice.one(&people), dice.one(&TYPES), dice.moment(300), dice.chance(10));
            self.activities.push(Activity { owner, kind, status, due, created, historical });
        }
        for _ in 0..200 {
            let status = dice.one(&["completed", "completed", "no-answer", "busy", "failed", "in-progress"]);
            let (user, seconds, recorded, created) =
                (dice.one(&people), dice.pick(1800) as i64, dice.chance(30), dice.moment(300));
            self.calls.push(Call { user, status, seconds, recorded, created });
        }
        for _ in 0..200 {
            let inbound = dice.chance(20);
            let status = match inbound {
                true => "received",
                false => dice.one(&["draft", "sent", "delivered", "opened", "clicked", "bounced", "failed"]),
            };
            let sent = (status != "draft" && !inbound).then(|| dice.moment(300));
            let clicked = (status == "clicked").then(|| dice.moment(300));
            // Mails that were opened before opens were recorded have no time.
            let opened = (["opened", "clicked"].contains(&status) && dice.chance(90)).then(|| dice.moment(300));
            let clicked = clicked.filter(|_| opened.is_some());
            self.mails.push(Mail { user: dice.one(&people), status, inbound, sent, opened, clicked });
        }
        for _ in 0..300 {
            let state = dice.one(&["sent", "sent", "sent", "sent", "pending", "sending", "failed", "suppressed"]);
            let mut known = |percent: usize| (state == "sent" && dice.chance(percent)).then(|| dice.moment(300));
            let (sent, delivered, opened, clicked, bounced) = (known(100), known(60), known(40), known(20), known(10));
            let (user, historical) = (dice.one(&people), dice.chance(10));
            self.recipients.push(Recipient { user, state, sent, delivered, opened, clicked, bounced, historical });
        }
    }

    async fn store(&self) {
        let (db, company) = (&self.world.db, self.world.company);
        let own = |historical: bool| (!historical).then_some(company);
        let rows: Vec<Value> = self
            .contacts
            .iter()
            .map(|c| {
                json!({"id": c.id, "tenant_id": company, "company_id": company, "owner_id": self.people[0].id, "first_name": "F",
                "last_name": "L", "email": format!("{}@x.example", c.id), "status": c.status, "is_deleted": c.deleted,
                "created_at": stamp(c.created)})
            })
            .collect();
        let insert = "insert into contacts (id, tenant_id, company_id, owner_id, first_name, last_name, email, status, is_deleted, created_at)
            select id, tenant_id, company_id, owner_id, first_name, last_name, email, status, is_deleted, created_at
            from jsonb_populate_recordset(null::contacts, $1)";
        db.execute(insert, &[&json!(rows)]).await.unwrap();
        let rows: Vec<Value> = self
            .deals
            .iter()
            .map(|d| {
                json!({"id": Uuid::now_v7(), "tenant_id": company, "company_id": own(d.historical), "owner_id": d.owner, "title": "T",
                "value": d.cents as f64 / 100.0, "pipeline_id": d.pipeline, "stage_id": d.stage, "status": d.status,
                "is_deleted": d.deleted, "created_at": stamp(d.created), "stage_entered_at": stamp(d.entered),
                "actual_close_date": d.closed.map(stamp), "contact_id": d.contact})
            })
            .collect();
        let insert = "insert into deals (id, tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status, is_deleted, created_at,
              stage_entered_at, actual_close_date, contact_id)
            select id, tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status, is_deleted, created_at,
              stage_entered_at, actual_close_date, contact_id from jsonb_populate_recordset(null::deals, $1)";
        db.execute(insert, &[&json!(rows)]).await.unwrap();
        let rows: Vec<Value> = self
            .activities
            .iter()
            .map(|a| {
                json!({"id": Uuid::now_v7(), "tenant_id": company, "company_id": own(a.historical), "owner_id": a.owner, "subject": "S",
                "type": a.kind, "status": a.status, "due_date": a.due.map(stamp),
                "created_at": stamp(a.created)})
            })
            .collect();
        let insert =
            "insert into activities (id, tenant_id, company_id, owner_id, subject, type, status, due_date, created_at)
            select id, tenant_id, company_id, owner_id, subject, type, status, due_date, created_at
            from jsonb_populate_recordset(null::activities, $1)";
        db.execute(insert, &[&json!(rows)]).await.unwrap();
        let rows: Vec<Value> = self
            .calls
            .iter()
            .map(|c| {
                json!({"tenant_id": company, "user_id": c.user, "status": c.status, "duration": c.seconds,
                "recording_url": c.recorded.then_some("https://x.example"), "created_at": stamp(c.created)})
            })
            .collect();
        let insert = "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, duration, recording_url, created_at)
            select tenant_id, tenant_id, user_id, 'inbound', status, '1', '2', duration, recording_url, created_at
            from jsonb_populate_recordset(null::calls, $1)";
        db.execute(insert, &[&json!(rows)]).await.unwrap();
        let rows: Vec<Value> = self
            .mails
            .iter()
            .map(|m| {
                json!({"tenant_id": company, "user_id": m.user, "status": m.status, "sent_at": m.sent.map(stamp),
                "opened_at": m.opened.map(stamp), "clicked_at": m.clicked.map(stamp),
                "direction": if m.inbound { "inbound" } else { "outbound" }})
            })
            .collect();
        let insert = "insert into emails (tenant_id, company_id, user_id, direction, status, from_email, to_email, subject, body, sent_at, opened_at, clicked_at)
            select tenant_id, tenant_id, user_id, direction, status, 'a', 'b', 'S', 'B', sent_at, opened_at, clicked_at
            from jsonb_populate_recordset(null::emails, $1)";
        db.execute(insert, &[&json!(rows)]).await.unwrap();
        let campaign = "insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients)
            values ($1, $1, $2, 'C', 'S', 'B', 'sent', 300) returning id";
        let campaign: Uuid = self.world.value(campaign, &[&company, &self.people[0].id]).await;
        let rows: Vec<Value> = self
            .recipients
            .iter()
            .map(|r| {
                json!({"tenant_id": company, "company_id": own(r.historical), "user_id": r.user, "campaign_id": campaign, "state": r.state,
                "email": format!("{}@x.example", Uuid::new_v4()), "sent_at": r.sent.map(stamp), "delivered_at": r.delivered.map(stamp),
                "opened_at": r.opened.map(stamp), "clicked_at": r.clicked.map(stamp), "bounced_at": r.bounced.map(stamp)})
            })
            .collect();
        let insert = "insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email, state, sent_at, delivered_at, opened_at,
              clicked_at, bounced_at)
            select tenant_id, company_id, user_id, campaign_id, email, state, sent_at, delivered_at, opened_at, clicked_at, bounced_at
            from jsonb_populate_recordset(null::campaign_recipients, $1)";
        db.execute(insert, &[&json!(rows)]).await.unwrap();
    }

    fn day(&self, time: Timestamp) -> Date {
        time.to_zoned(self.zone.clone()).date()
    }

    fn within(&self, time: Timestamp, (from, to): (Option<Date>, Option<Date>)) -> bool {
        let day = self.day(time);
        from.is_none_or(|from| day >= from) && to.is_none_or(|to| day <= to)
    }

    /// The deals that a user sees with these filters.
    fn deals(&self, who: &Person, owner: Option<Uuid>, pipeline: Option<Uuid>) -> Vec<&Deal> {
        let seen = self.deals.iter().filter(|d| !d.deleted && (!d.historical || d.owner == who.id));
        seen.filter(|d| owner.is_none_or(|o| d.owner == o) && pipeline.is_none_or(|p| d.pipeline == p)).collect()
    }
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Checks that a figure is as expected, except for rounding to this many decimals.
#[track_caller]
fn close(figure: &Value, expected: f64, decimals: i32) {
    let slack = 0.5 * 10_f64.powi(-decimals) + 1e-6;
    assert!((number(figure) - expected).abs() <= slack, "{figure} instead of {expected}");
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { 100.0 * part / whole }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

fn growth(now: f64, before: f64) -> f64 {
    percent(now - before, before)
}

fn money<'a>(deals: impl IntoIterator<Item = &'a &'a Deal>) -> f64 {
    deals.into_iter().map(|d| d.cents).sum::<i64>() as f64 / 100.0
}

type Range = (Option<Date>, Option<Date>);

fn query(range: Range, owner: Option<Uuid>, pipeline: Option<Uuid>) -> String {
    let mut text = String::from("?x=1");
    for (name, day) in [("date_from", range.0), ("date_to", range.1)] {
        text += &day.map(|day| format!("&{name}={day}")).unwrap_or_default();
    }
    for (name, id) in [("user_id", owner), ("pipeline_id", pipeline)] {
        text += &id.map(|id| format!("&{name}={id}")).unwrap_or_default();
    }
    text
}

/// Ranges that begin and end within the data, an empty one, and ones with an open end.
fn ranges(dice: &mut Dice, today: Date) -> Vec<Range> {
    let mut day = |within: usize| today.checked_sub(Span::new().days(dice.pick(within) as i64)).unwrap();
    let (a, b, c) = (day(300), day(300), day(20));
    vec![(None, None), (Some(a.min(b)), Some(a.max(b))), (Some(c), None), (None, Some(c)), (Some(c), Some(c))]
}

fn won(d: &&&Deal) -> bool {
    d.status == "won"
}

#[tokio::test]
async fn the_figures_of_deals_are_those_of_the_rows() {
    let mut dice = Dice::new();
    let acme = Filled::new(&mut dice).await;
    let today = acme.day(Timestamp::now());
    let second = acme.stages.iter().find(|s| s.2 == "Visit").unwrap().1;
    for range in ranges(&mut dice, today) {
        for (who, owner, pipeline) in [
            (&acme.people[0], None, None),
            (&acme.people[1], None, None),
            (&acme.people[1], Some(acme.people[1].id), None),
            (&acme.people[1], Some(acme.people[2].id), Some(second)),
        ] {
            let q = query(range, owner, pipeline);
            let all = acme.deals(who, owner, pipeline);
            let made: Vec<&Deal> = all.iter().copied().filter(|d| acme.within(d.created, range)).collect();
            dashboard(&acme, &who.get(&format!("/api/analytics/dashboard{q}")).await.expect(200), owner, range, &all);
            pipelines(&acme, &who.get(&format!("/api/analytics/pipeline{q}")).await.expect(200), &made);
            custom(&acme, who, &q, &made, range, owner).await;
            let csv = who.get(&format!("/api/analytics/export/csv{q}")).await;
            assert_eq!(csv.text.matches("\r\n").count(), made.len() + 1, "{q}");
        }
    }
    users(&acme, &acme.people[1].get("/api/analytics/users").await.expect(200));
    revenue(&acme, &acme.people[1].get("/api/analytics/revenue").await.expect(200), today);
}

fn dashboard(acme: &Filled, said: &Value, owner: Option<Uuid>, range: Range, all: &[&Deal]) {
    let k = &said["kpis"];
    let today = acme.day(Timestamp::now());
    let before = match range {
        (Some(from), to) => {
            let days = (to.unwrap_or(today) - from).get_days() + 1;
            (from.checked_sub(Span::new().days(days)).unwrap(), from.yesterday().unwrap())
        }
        (None, _) => {
            let last = today.first_of_month().yesterday().unwrap();
            (last.first_of_month(), last)
        }
    };
    let of = |range: Range| -> (f64, f64, f64) {
        let made: Vec<&Deal> = all.iter().copied().filter(|d| acme.within(d.created, range)).collect();
        let won: Vec<&Deal> = made.iter().copied().filter(|d| d.status == "won").collect();
        let decided = made.iter().filter(|d| ["won", "lost"].contains(&d.status)).count();
        (money(&won), won.len() as f64, decided as f64)
    };
    let ((revenue, won, decided), (revenue0, won0, decided0)) = (of(range), of((Some(before.0), Some(before.1))));
    close(&k["total_revenue"], revenue, 2);
    close(&k["revenue_growth"], growth(revenue, revenue0), 1);
    close(&k["deals_won"], won, 6);
    close(&k["deals_won_growth"], growth(won, won0), 1);
    close(&k["win_rate"], percent(won, decided), 1);
    close(&k["win_rate_change"], percent(won, decided) - percent(won0, decided0), 1);
    close(&k["avg_deal_size"], ratio(revenue, won), 2);
    close(&k["avg_deal_growth"], growth(ratio(revenue, won), ratio(revenue0, won0)), 1);
    let open: Vec<&Deal> = all.iter().copied().filter(|d| d.status == "open").collect();
    close(&k["total_pipeline"], money(&open), 2);
    close(&k["active_deals"], open.len() as f64, 6);
    let age = |d: &Deal| (Timestamp::now().as_second() - d.created.as_second()) / 86400;
    let new: Vec<&Deal> = open.iter().copied().filter(|d| age(d) < 30).collect();
    let old: Vec<&Deal> = open.iter().copied().filter(|d| (30..60).contains(&age(d))).collect();
    let from_zero = |now: f64, before: f64| if before == 0.0 && now > 0.0 { 100.0 } else { growth(now, before) };
    close(&k["pipeline_growth"], from_zero(money(&new), money(&old)), 1);
    close(&k["deal_growth"], from_zero(new.len() as f64, old.len() as f64), 1);
    // Users see their own historical activities; the caller here is never the third user. The day of an activity is as
    // given, whatever the company's time zone.
    let given = |due: Timestamp| due.to_zoned(TimeZone::UTC).date();
    let due = |a: &&Activity| a.due.is_some_and(|due| given(due) == today) && owner.is_none_or(|o| a.owner == o);
    let most = acme.activities.iter().filter(due).count() as f64;
    let least = acme.activities.iter().filter(due).filter(|a| !a.historical).count() as f64;
    assert!((least..=most).contains(&number(&k["activities_today"])), "{k}");

    let mut stages: BTreeMap<(i32, String), (f64, f64)> = BTreeMap::new();
    for d in all {
        let (_, _, name, place) = acme.stages.iter().find(|s| s.0 == d.stage).unwrap();
        let sum = stages.entry((*place, name.clone())).or_default();
        *sum = (sum.0 + 1.0, sum.1 + d.cents as f64 / 100.0);
    }
    let rows = said["pipeline_by_stage"].as_array().unwrap();
    assert_eq!(rows.len(), stages.len());
    for (row, ((_, name), (count, value))) in rows.iter().zip(&stages) {
        assert_eq!(row["stage_name"], json!(name));
        close(&row["deal_count"], *count, 6);
        close(&row["total_value"], *value, 2);
        close(&row["percentage"], percent(*value, money(all)), 1);
    }
}

fn pipelines(acme: &Filled, said: &Value, made: &[&Deal]) {
    let rows = said["pipeline_analytics"].as_array().unwrap();
    let used: BTreeSet<Uuid> = made.iter().map(|d| d.stage).collect();
    assert_eq!(rows.len(), used.len());
    let places: Vec<i32> =
        rows.iter().map(|row| acme.stages.iter().find(|s| json!(s.0) == row["stage_id"]).unwrap().3).collect();
    assert!(places.is_sorted(), "{places:?}");
    let now = Timestamp::now().as_second();
    for row in rows {
        let (id, _, name, _) = acme.stages.iter().find(|s| json!(s.0) == row["stage_id"]).unwrap();
        let here: Vec<&Deal> = made.iter().copied().filter(|d| d.stage == *id).collect();
        let count = |status: &str| here.iter().filter(|d| d.status == status).count() as f64;
        assert_eq!(row["stage_name"], json!(name));
        close(&row["deal_count"], here.len() as f64, 6);
        close(&row["total_value"], money(&here), 2);
        close(&row["avg_value"], money(&here) / here.len() as f64, 2);
        close(&row["deals_won"], count("won"), 6);
        close(&row["deals_lost"], count("lost"), 6);
        close(&row["win_rate"], percent(count("won"), count("won") + count("lost")), 2);
        close(&row["conversion_rate"], percent(count("won"), here.len() as f64), 1);
        let stay = |d: &&Deal| d.closed.map_or(now, |c| c.as_second()) - d.entered.as_second();
        let days = here.iter().map(stay).sum::<i64>() as f64 / 86400.0 / here.len() as f64;
        assert!((number(&row["avg_duration"]) - days).abs() < 0.06, "{row}: {days}");
    }
    close(&said["summary"]["total_deals"], made.len() as f64, 6);
    close(&said["summary"]["total_value"], money(made), 2);
    close(&said["summary"]["avg_deal_size"], ratio(money(made), made.len() as f64), 2);
    let closed: Vec<i64> = made.iter().filter_map(|d| Some(d.closed?.as_second() - d.created.as_second())).collect();
    let days = ratio(closed.iter().sum::<i64>() as f64 / 86400.0, closed.len() as f64);
    close(&said["avg_deal_duration"], days, 1);
    let owners: BTreeSet<Uuid> = made.iter().map(|d| d.owner).collect();
    let rows = said["deals_by_owner"].as_array().unwrap();
    let mut told: Vec<(i64, i64)> = rows
        .iter()
        .map(|r| (number(&r["deal_count"]) as i64, (number(&r["total_value"]) * 100.0).round() as i64))
        .collect();
    let mut expected: Vec<(i64, i64)> = owners
        .iter()
        .map(|o| {
            let own = made.iter().filter(|d| d.owner == *o);
            (own.clone().count() as i64, own.map(|d| d.cents).sum())
        })
        .collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    assert!(rows.iter().all(|r| r["owner_name"].as_str().unwrap().contains("First")), "{rows:?}");
}

async fn custom(acme: &Filled, who: &Person, q: &str, made: &[&Deal], range: Range, owner: Option<Uuid>) {
    let worked: Vec<&Activity> = acme
        .activities
        .iter()
        .filter(|a| {
            (!a.historical || a.owner == who.id) && TYPES[..4].contains(&a.kind) && acme.within(a.created, range)
        })
        .filter(|a| owner.is_none_or(|o| a.owner == o))
        .collect();
    let one = who.get(&format!("/api/analytics/custom{q}")).await.expect(200);
    let won: Vec<&Deal> = made.iter().copied().filter(|d| d.status == "won").collect();
    let decided = made.iter().filter(|d| ["won", "lost"].contains(&d.status)).count();
    let r = &one["results"];
    close(&r["revenue"], money(&won), 2);
    close(&r["deals"], made.len() as f64, 6);
    close(&r["activities"], worked.len() as f64, 6);
    let contacts = acme.contacts.iter().filter(|c| !c.deleted && acme.within(c.created, range));
    let contacts = contacts.filter(|_| owner.is_none_or(|o| o == acme.people[0].id)).count();
    close(&r["contacts"], contacts as f64, 6);
    close(&r["conversion_rate"], percent(won.len() as f64, made.len() as f64), 1);
    close(&r["avg_deal_size"], ratio(money(&won), won.len() as f64), 2);
    close(&r["win_rate"], percent(won.len() as f64, decided as f64), 1);

    for unit in ["day", "week", "month", "user", "team"] {
        let label = |owner: Uuid, time: Timestamp| {
            let day = acme.day(time);
            match unit {
                "day" => day.to_string(),
                "week" => {
                    let week = day.iso_week_date();
                    format!("{}-W{:02}", week.year(), week.week())
                }
                "month" => day.to_string()[..7].to_owned(),
                "user" => owner.to_string(),
                _ => "null".to_owned(),
            }
        };
        let mut expected: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
        for d in made {
            let sum = expected.entry(label(d.owner, d.created)).or_default();
            *sum = (sum.0 + if d.status == "won" { d.cents } else { 0 }, sum.1 + 1, sum.2);
        }
        for a in &worked {
            expected.entry(label(a.owner, a.created)).or_default().2 += 1;
        }
        let said = who.get(&format!("/api/analytics/custom{q}&group_by={unit}")).await.expect(200);
        let key = match unit {
            "day" => "date",
            "user" => "user_id",
            "team" => "team_id",
            unit => unit,
        };
        let mut told = BTreeMap::new();
        for row in said["results"].as_array().unwrap() {
            let name = row[key].as_str().map_or_else(|| "null".to_owned(), str::to_owned);
            let cents = (number(&row["revenue"]) * 100.0).round() as i64;
            told.insert(name, (cents, number(&row["deals"]) as i64, number(&row["activities"]) as i64));
        }
        assert_eq!(told, expected, "{q} by {unit}");
        close(&said["summary"]["total_records"], expected.len() as f64, 6);
    }
}

fn users(acme: &Filled, said: &Value) {
    let asks = acme.people[1].id;
    let rows = said["user_performance"].as_array().unwrap();
    let mut told: Vec<String> = Vec::new();
    for row in rows {
        told.push(format!(
            "{} {:.2} {} {:.0}",
            number(&row["deals_count"]),
            number(&row["deals_value"]),
            number(&row["activities_completed"]),
            number(&row["conversion_rate"]) * 10.0
        ));
    }
    let mut expected: Vec<String> = Vec::new();
    let mut total = 0.0;
    for person in &acme.people {
        let own: Vec<&Deal> = acme.deals(&acme.people[1], Some(person.id), None);
        let seen = |a: &&Activity| a.owner == person.id && (!a.historical || a.owner == asks);
        let done = |a: &&Activity| a.status == "completed" && TYPES[..4].contains(&a.kind);
        let done = acme.activities.iter().filter(seen).filter(done).count();
        let won = own.iter().filter(won).count() as f64;
        total += money(&own);
        let rate = (percent(won, own.len() as f64) * 10.0).round();
        expected.push(format!("{} {:.2} {done} {rate:.0}", own.len(), money(&own)));
    }
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(said["summary"]["total_users"], json!(3));
    close(&said["summary"]["avg_value_per_user"], total / 3.0, 2);
    assert_eq!(said["summary"]["top_performer"], rows[0]["user_name"]);
}

fn revenue(acme: &Filled, said: &Value, today: Date) {
    let seen = acme.deals(&acme.people[1], None, None);
    let rows = said["monthly_revenue"].as_array().unwrap();
    let mut sums = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let month = today.first_of_month().checked_sub(Span::new().months(5 - n as i64)).unwrap();
        assert_eq!(row["month"], json!(month.to_string()[..7]));
        let in_month = |d: &&&Deal| d.closed.is_some_and(|c| acme.day(c).first_of_month() == month);
        let won: Vec<&Deal> = seen.iter().filter(won).filter(in_month).copied().collect();
        close(&row["revenue"], money(&won), 2);
        close(&row["deal_count"], won.len() as f64, 6);
        sums.push((money(&won), won.len() as f64));
    }
    assert_eq!(rows.len(), 6);
    let (total, deals) = sums.iter().fold((0.0, 0.0), |t, s| (t.0 + s.0, t.1 + s.1));
    close(&said["summary"]["total_revenue"], total, 2);
    close(&said["summary"]["total_deals"], deals, 6);
    close(&said["summary"]["avg_deal_size"], ratio(total, deals), 2);
    close(&said["summary"]["growth_rate"], growth(sums[5].0, sums[4].0), 1);
}

#[tokio::test]
async fn the_figures_of_work_and_traffic_are_those_of_the_rows() {
    let mut dice = Dice::new();
    let acme = Filled::new(&mut dice).await;
    let today = acme.day(Timestamp::now());
    for range in ranges(&mut dice, today) {
        for owner in [None, Some(acme.people[2].id)] {
            let who = &acme.people[1];
            let q = query(range, owner, None);
            activities(&acme, &who.get(&format!("/api/analytics/activities{q}")).await.expect(200), range, owner, None);
            let calls = who.get(&format!("/api/analytics/activities{q}&activity_type=call")).await.expect(200);
            activities(&acme, &calls, range, owner, Some("call"));
            emails(&acme, &who.get(&format!("/api/analytics/emails{q}")).await.expect(200), range, owner);
            spoken(&acme, &who.get(&format!("/api/analytics/calls{q}")).await.expect(200), range, owner);
            if owner.is_none() {
                contacts(&acme, &who.get(&format!("/api/analytics/contacts{q}")).await.expect(200), range);
            }
        }
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn activities(acme: &Filled, said: &Value, range: Range, owner: Option<Uuid>, kind: Option<&str>) {
    let asks = acme.people[1].id;
    let seen: Vec<&Activity> = acme
        .activities
        .iter()
        .filter(|a| (!a.historical || a.owner == asks) && TYPES[..4].contains(&a.kind) && acme.within(a.created, range))
        .filter(|a| owner.is_none_or(|o| a.owner == o) && kind.is_none_or(|k| a.kind == k))
        .collect();
    let passed = |a: &Activity| a.due.is_some_and(|due| due < Timestamp::now());
    let completed = |a: &&&Activity| a.status == "completed";
    let late = |a: &&&Activity| a.status == "overdue" || a.status == "pending" && passed(a);
    let open = |a: &&&Activity| a.status == "pending" && !passed(a);
    let rows = said["activity_analytics"].as_array().unwrap();
    assert_eq!(rows.iter().map(|r| r["activity_type"].as_str().unwrap()).collect::<Vec<_>>(), TYPES[..4]);
    for row in rows {
        let own: Vec<&Activity> = seen.iter().copied().filter(|a| row["activity_type"] == json!(a.kind)).collect();
        let [done, late, open] =
            [own.iter().filter(completed).count(), own.iter().filter(late).count(), own.iter().filter(open).count()];
        assert_eq!(row["total_count"], json!(own.len()));
        assert_eq!(row["completed_count"], json!(done));
        assert_eq!(row["overdue_count"], json!(late));
        assert_eq!(row["pending_count"], json!(open));
        close(&row["completion_rate"], percent(done as f64, own.len() as f64), 1);
    }
    let done = seen.iter().filter(completed).count();
    let summary = &said["summary"];
    assert_eq!(summary["total_activities"], json!(seen.len()));
    assert_eq!(summary["total_completed"], json!(done));
    assert_eq!(summary["total_overdue"], json!(seen.iter().filter(late).count()));
    assert_eq!(summary["total_pending"], json!(seen.iter().filter(open).count()));
    close(&summary["overall_completion_rate"], percent(done as f64, seen.len() as f64), 2);
    for (day, row) in DAYS.iter().zip(said["activity_distribution"]["by_day"].as_array().unwrap()) {
        let there = |a: &&&Activity| {
            let weekday = acme.day(a.created).weekday().to_sunday_zero_offset();
            DAYS[weekday as usize] == *day
        };
        assert_eq!(*row, json!({"day": day, "count": seen.iter().filter(there).count()}));
    }
    let rows = said["activities_by_user"].as_array().unwrap();
    assert_eq!(rows.len(), seen.iter().map(|a| a.owner).collect::<BTreeSet<_>>().len());
    for row in rows {
        let own: Vec<&Activity> = seen.iter().copied().filter(|a| row["user_id"] == json!(a.owner)).collect();
        for (key, kind) in [("calls", "call"), ("emails", "email"), ("meetings", "meeting"), ("tasks", "task")] {
            assert_eq!(row[key], json!(own.iter().filter(|a| a.kind == kind).count()));
        }
        assert_eq!(row["total"], json!(own.len()));
        close(&row["completion_rate"], percent(own.iter().filter(completed).count() as f64, own.len() as f64), 1);
    }
}

/// What is known of a mail, however it was sent.
struct Known {
    kind: &'static str,
    user: Uuid,
    delivered: bool,
    opened: bool,
    clicked: bool,
    bounced: bool,
    opened_at: Option<Timestamp>,
    clicked_at: Option<Timestamp>,
}

fn emails(acme: &Filled, said: &Value, range: Range, owner: Option<Uuid>) {
    let asks = acme.people[1].id;
    let within = |sent: Option<Timestamp>, user: Uuid| {
        sent.is_some_and(|t| acme.within(t, range)) && owner.is_none_or(|o| user == o)
    };
    let direct = acme.mails.iter().filter(|m| !m.inbound && !["draft", "failed"].contains(&m.status));
    let direct = direct.filter(|m| within(m.sent, m.user)).map(|m| Known {
        kind: "Direct",
        user: m.user,
        delivered: ["delivered", "opened", "clicked"].contains(&m.status),
        opened: ["opened", "clicked"].contains(&m.status),
        clicked: m.status == "clicked",
        bounced: m.status == "bounced",
        opened_at: m.opened,
        clicked_at: m.clicked,
    });
    let by_campaign = acme.recipients.iter().filter(|r| r.state == "sent" && (!r.historical || r.user == asks));
    let by_campaign = by_campaign.filter(|r| within(r.sent, r.user)).map(|r| Known {
        kind: "Campaign",
        user: r.user,
        delivered: r.delivered.or(r.opened).or(r.clicked).is_some(),
        opened: r.opened.or(r.clicked).is_some(),
        clicked: r.clicked.is_some(),
        bounced: r.bounced.is_some(),
        opened_at: r.opened,
        clicked_at: r.clicked,
    });
    let sent: Vec<Known> = direct.chain(by_campaign).collect();
    let of = |is: &dyn Fn(&Known) -> bool| sent.iter().filter(|m| is(m)).count() as f64;
    let m = &said["email_metrics"];
    let (opened, clicked) = (of(&|m| m.opened), of(&|m| m.clicked));
    close(&m["total_sent"], sent.len() as f64, 6);
    close(&m["total_delivered"], of(&|m| m.delivered), 6);
    close(&m["total_opened"], opened, 6);
    close(&m["total_clicked"], clicked, 6);
    close(&m["total_bounced"], of(&|m| m.bounced), 6);
    close(&m["open_rate"], percent(opened, sent.len() as f64), 1);
    close(&m["click_rate"], percent(clicked, sent.len() as f64), 1);
    close(&m["bounce_rate"], percent(of(&|m| m.bounced), sent.len() as f64), 1);
    close(&m["click_to_open_rate"], percent(clicked, opened), 1);
    for key in ["total_sent", "total_opened", "total_clicked", "total_bounced"] {
        assert_eq!(said["email_summary"][key], m[key]);
    }
    let parts = |row: &Value, is: &dyn Fn(&Known) -> bool| {
        let all = of(is);
        close(&row["sent"], all, 6);
        close(&row["opened"], of(&|m| is(m) && m.opened), 6);
        close(&row["clicked"], of(&|m| is(m) && m.clicked), 6);
        close(&row["open_rate"], percent(of(&|m| is(m) && m.opened), all), 1);
        close(&row["click_rate"], percent(of(&|m| is(m) && m.clicked), all), 1);
    };
    let kinds: BTreeSet<&str> = sent.iter().map(|m| m.kind).collect();
    let rows = said["email_by_type"].as_array().unwrap();
    assert_eq!(rows.iter().map(|r| r["type"].as_str().unwrap()).collect::<BTreeSet<_>>(), kinds);
    rows.iter().for_each(|row| parts(row, &|m| row["type"] == m.kind));
    let users: BTreeSet<Uuid> = sent.iter().map(|m| m.user).collect();
    let rows = said["email_by_user"].as_array().unwrap();
    assert_eq!(rows.len(), users.len());
    rows.iter().for_each(|row| parts(row, &|m| row["user_id"] == json!(m.user)));
    let hour = |time: Option<Timestamp>| time.map(|time| i64::from(time.to_zoned(acme.zone.clone()).hour()));
    let rows = said["engagement_timeline"].as_array().unwrap();
    let is_known = sent.iter().any(|m| m.opened_at.or(m.clicked_at).is_some());
    assert_eq!(rows.len(), if is_known { 24 } else { 0 });
    for (n, row) in rows.iter().enumerate() {
        let at = |time: Option<Timestamp>| hour(time) == Some(n as i64);
        let (opens, clicks) = (of(&|m| at(m.opened_at)), of(&|m| at(m.clicked_at)));
        assert_eq!(*row, json!({"hour": format!("{n:02}:00"), "opens": opens as i64, "clicks": clicks as i64}));
    }
}

fn spoken(acme: &Filled, said: &Value, range: Range, owner: Option<Uuid>) {
    let made: Vec<&Call> =
        acme.calls.iter().filter(|c| acme.within(c.created, range) && owner.is_none_or(|o| c.user == o)).collect();
    let missed = |c: &&&Call| ["no-answer", "busy", "failed"].contains(&c.status);
    let mut lengths: Vec<i64> = made.iter().filter(|c| c.status == "completed").map(|c| c.seconds).collect();
    lengths.sort();
    let (answered, seconds) = (lengths.len() as f64, lengths.iter().sum::<i64>() as f64);
    let m = &said["call_metrics"];
    close(&m["total_calls"], made.len() as f64, 6);
    close(&m["answered_calls"], answered, 6);
    close(&m["missed_calls"], made.iter().filter(missed).count() as f64, 6);
    close(&m["answer_rate"], percent(answered, made.len() as f64), 1);
    close(&m["avg_duration_seconds"], ratio(seconds, answered), 1);
    close(&m["total_duration_hours"], seconds / 3600.0, 1);
    close(&m["recorded_calls"], made.iter().filter(|c| c.recorded).count() as f64, 6);
    let d = &said["call_durations"];
    let median = match lengths.len() {
        0 => 0.0,
        n => (lengths[(n - 1) / 2] + lengths[n / 2]) as f64 / 2.0,
    };
    close(&d["median_duration"], median, 1);
    close(&d["min_duration"], lengths.first().copied().unwrap_or(0) as f64, 6);
    close(&d["max_duration"], lengths.last().copied().unwrap_or(0) as f64, 6);
    let bounds = [(0, 120), (120, 300), (300, 600), (600, 1200), (1200, i64::MAX)];
    for ((from, to), row) in bounds.iter().zip(d["duration_distribution"].as_array().unwrap()) {
        close(&row["count"], lengths.iter().filter(|s| (from..to).contains(s)).count() as f64, 6);
    }
    let days: BTreeSet<Date> = made.iter().map(|c| acme.day(c.created)).collect();
    let rows = said["daily_calls"].as_array().unwrap();
    assert_eq!(rows.len(), days.len());
    for (row, day) in rows.iter().zip(days) {
        assert_eq!(row["date"], json!(day.to_string()));
        let there: Vec<&Call> = made.iter().copied().filter(|c| acme.day(c.created) == day).collect();
        close(&row["answered"], there.iter().filter(|c| c.status == "completed").count() as f64, 6);
        close(&row["missed"], there.iter().filter(missed).count() as f64, 6);
    }
    let by_day = said["call_by_day"].as_array().unwrap();
    assert_eq!(by_day.iter().map(|r| number(&r["answered"])).sum::<f64>(), answered);
    let by_user = said["call_by_user"].as_array().unwrap();
    assert_eq!(by_user.iter().map(|r| number(&r["total_calls"])).sum::<f64>(), made.len() as f64);
    for row in said["call_outcomes"].as_array().unwrap() {
        close(&row["count"], made.iter().filter(|c| row["outcome"] == json!(c.status)).count() as f64, 6);
    }
}

fn contacts(acme: &Filled, said: &Value, range: Range) {
    let seen: Vec<&Contact> = acme.contacts.iter().filter(|c| !c.deleted && acme.within(c.created, range)).collect();
    let visible = acme.deals(&acme.people[1], None, None);
    let of = |c: &Contact| visible.iter().filter(|d| d.contact == Some(c.id)).copied().collect::<Vec<_>>();
    let converted: Vec<&&Contact> = seen.iter().filter(|c| !of(c).is_empty()).collect();
    let won = seen.iter().filter(|c| of(c).iter().any(|d| d.status == "won")).count();
    let s = &said["summary"];
    close(&s["total_contacts"], seen.len() as f64, 6);
    close(&s["total_deals_created"], seen.iter().map(|c| of(c).len()).sum::<usize>() as f64, 6);
    close(&s["overall_conversion_rate"], percent(converted.len() as f64, seen.len() as f64), 1);
    let wait = |c: &&&Contact| {
        let first = of(c).iter().map(|d| d.created.as_second()).min().unwrap();
        (first - c.created.as_second()).max(0)
    };
    let days = ratio(converted.iter().map(wait).sum::<i64>() as f64 / 86400.0, converted.len() as f64);
    close(&s["avg_time_to_convert_days"], days, 1);
    let funnel: Vec<f64> = said["conversion_funnel"].as_array().unwrap().iter().map(|r| number(&r["count"])).collect();
    assert_eq!(funnel, [seen.len(), converted.len(), won].map(|n| n as f64));
    for row in said["contacts_by_status"].as_array().unwrap() {
        close(&row["count"], seen.iter().filter(|c| row["status"] == json!(c.status)).count() as f64, 6);
    }
}

#[tokio::test]
async fn a_team_has_the_figures_of_its_members() {
    let world = World::new().await;
    for who in [&world.admin, &world.member] {
        who.post("/api/deals/", json!({"title": "D", "value": 10, "stage_id": "Lead", "status": "won"}))
            .await
            .expect(200);
    }
    let team = "insert into teams (tenant_id, company_id, user_id, name) values ($1, $1, $2, 'North') returning id";
    let team: Uuid = world.value(team, &[&world.company, &world.admin.id]).await;
    world.db.execute("update users set team_id = $1 where id = $2", &[&team, &world.member.id]).await.unwrap();
    let said = world.admin.get("/api/analytics/custom?group_by=team").await.expect(200);
    let mut teams: Vec<(Value, Value, f64)> = Vec::new();
    for row in said["results"].as_array().unwrap() {
        teams.push((row["team_id"].clone(), row["team_name"].clone(), number(&row["revenue"])));
    }
    teams.sort_by_key(|team| team.1.to_string());
    assert_eq!(teams, [(json!(null), json!("No team"), 10.0), (json!(team), json!("North"), 10.0)]);
    let own = world.admin.get(&format!("/api/analytics/custom?team_id={team}")).await.expect(200);
    assert_eq!((number(&own["results"]["revenue"]), number(&own["results"]["deals"])), (10.0, 1.0));
}

/// Checks that all keys are the same, whatever the figures; items of a list must have the keys of its first item.
#[track_caller]
fn same_shape(one: &Value, other: &Value, at: &str) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{at}");
            a.iter().for_each(|(key, value)| same_shape(value, &b[key], &format!("{at}.{key}")));
        }
        (Value::Array(a), Value::Array(b)) => {
            if let (Some(a), Some(b)) = (a.first(), b.first()) {
                same_shape(a, b, at);
            }
        }
        (a, b) => assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{at}: {a} and {b}"),
    }
}

fn sum_of_numbers(value: &Value) -> f64 {
    match value {
        Value::Number(n) => n.as_f64().unwrap().abs(),
        Value::Array(list) => list.iter().map(sum_of_numbers).sum(),
        Value::Object(map) => {
            map.iter().filter(|(key, _)| *key != "total_records").map(|(_, v)| sum_of_numbers(v)).sum()
        }
        _ => 0.0,
    }
}

#[tokio::test]
async fn nothing_is_zero_in_the_same_shape() {
    let acme = Filled::new(&mut Dice::new()).await;
    let (lone, boss) = (acme.world.lone().await, acme.world.super_admin().await);
    let other = World::new().await;
    for report in REPORTS {
        let path = format!("/api/analytics/{report}");
        let full = acme.people[0].get(&path).await.expect(200);
        for who in [&lone, &boss] {
            let empty = who.get(&path).await.expect(200);
            same_shape(&full, &empty, report);
            assert_eq!(sum_of_numbers(&empty), 0.0, "{report}: {empty}");
        }
        // An id of another company gives the same as an unknown one: nothing (contract: analytics).
        if !["revenue", "users", "contacts", "documents"].contains(&report) {
            for id in [other.admin.id, Uuid::now_v7()] {
                let nobodys = acme.people[0].get(&format!("{path}?user_id={id}")).await.expect(200);
                for (part, figures) in nobodys.as_object().unwrap().iter().filter(|(part, _)| *part != "filters") {
                    same_shape(&full[part], figures, report);
                }
                assert_eq!(sum_of_numbers(&nobodys), 0.0, "{report}: {nobodys}");
            }
        }
    }
    for (_, kpi) in acme.people[0].get("/api/analytics/dashboard").await.expect(200)["kpis"].as_object().unwrap() {
        assert!(kpi.is_number());
    }
    let empty = lone.get("/api/analytics/export/csv").await;
    assert_eq!(empty.text, "Deal Title,Value,Status,Stage,Created Date,Close Date,Company\r\n");
    assert_eq!(lone.get("/api/analytics/export/pdf").await.status, 200);
}

#[tokio::test]
async fn bad_days_ids_and_groupings_are_refused() {
    let world = World::new().await;
    for bad in [
        "date_from=x",
        "date_from=2026-13-01",
        "date_to=2026-02-30",
        "date_to=2026-1-1",
        "date_to=20260101",
        "date_from=2026-01-01T00:00:00",
        "date_from=-2026-01-1",
        "date_from=0000-01-01",
        "date_to=0000-12-31",
    ] {
        for report in REPORTS.iter().filter(|r| !["revenue", "users"].contains(r)).chain(&["export/csv", "export/pdf"])
        {
            let refused = world.admin.get(&format!("/api/analytics/{report}?{bad}")).await;
            assert_eq!(refused.status, 422, "{report} {bad}: {}", refused.text);
        }
    }
    for bad in [
        "dashboard?user_id=1",
        "dashboard?pipeline_id=x",
        "calls?user_id=x",
        "custom?team_id=x",
        "custom?group_by=year",
    ] {
        assert_eq!(world.admin.get(&format!("/api/analytics/{bad}")).await.status, 422, "{bad}");
    }
    for good in [
        "dashboard?date_from=&date_to=&user_id=",
        "dashboard?date_from=9999-12-31",
        "dashboard?date_from=0001-01-01&date_to=9999-12-31",
        "dashboard?date_from=0001-01-01&date_to=0001-01-01",
        "custom?group_by=",
        "calls?team_id=x",
    ] {
        assert_eq!(world.admin.get(&format!("/api/analytics/{good}")).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn a_zone_that_is_none_counts_by_utc() {
    let world = World::new().await;
    let deal = json!({"title": "D", "value": 10, "stage_id": "Lead"});
    world.admin.post("/api/deals/", deal).await.expect(200);
    for zone in ["", "Mars/Olympus", "x'; --", "Foo5", "America/New_York99", "+01:30", "🦀"] {
        let set = "update companies set timezone = $2 where id = $1";
        world.db.execute(set, &[&world.company, &zone]).await.unwrap();
        for report in REPORTS {
            let said = world.admin.get(&format!("/api/analytics/{report}?date_from=2020-01-01")).await;
            assert_eq!(said.status, 200, "{report} in {zone:?}: {}", said.text);
        }
        let days = world.admin.get("/api/analytics/custom?group_by=day").await.expect(200);
        let made = "select to_char(min(created_at at time zone 'UTC'), 'YYYY-MM-DD') from deals where tenant_id = $1";
        let made: String = world.value(made, &[&world.company]).await;
        assert_eq!(days["results"][0]["date"], json!(made), "{zone:?}");
    }
}

/// IANA has zones with digits in their names, some of which PostgreSQL reads as an offset without daylight saving time.
#[tokio::test]
async fn a_day_is_that_of_the_companys_zone_whatever_its_name() {
    let world = World::new().await;
    let deal = json!({"title": "D", "value": 10, "stage_id": "Lead"});
    world.admin.post("/api/deals/", deal).await.expect(200);
    for (zone, made, day) in [
        ("EST5EDT", "2026-07-16 03:30Z", "2026-07-15"),
        ("CST6CDT", "2026-07-16 04:30Z", "2026-07-15"),
        ("MST7MDT", "2026-07-16 05:30Z", "2026-07-15"),
        ("PST8PDT", "2026-07-16 06:30Z", "2026-07-15"),
        ("PST8PDT", "2026-07-16 07:30Z", "2026-07-16"),
        ("CET", "2026-07-15 22:30Z", "2026-07-16"),
        ("MET", "2026-07-15 22:30Z", "2026-07-16"),
        ("EET", "2026-07-15 21:30Z", "2026-07-16"),
        ("WET", "2026-07-15 23:30Z", "2026-07-16"),
        ("Etc/GMT+5", "2026-07-16 04:30Z", "2026-07-15"),
        ("Etc/GMT0", "2026-07-15 23:30Z", "2026-07-15"),
        ("Europe/Berlin", "2026-07-15 22:30Z", "2026-07-16"),
    ] {
        let company = format!("/api/companies/{}", world.company);
        let set = world.admin.put(&company, json!({ "timezone": zone })).await.expect(200);
        assert_eq!(set["timezone"], zone);
        let at = "update deals set created_at = $2::text::timestamptz where tenant_id = $1";
        world.db.execute(at, &[&world.company, &made]).await.unwrap();
        let days = world.admin.get("/api/analytics/custom?group_by=day").await.expect(200);
        assert_eq!(days["results"][0]["date"], day, "{made} in {zone}");
        for (to, deals) in [(day, 1), ("2026-07-14", 0)] {
            let path = format!("/api/analytics/pipeline?date_from=2026-07-06&date_to={to}");
            let said = world.admin.get(&path).await.expect(200);
            assert_eq!(said["summary"]["total_deals"], deals, "{made} in {zone}, to {to}");
        }
    }
}

#[tokio::test]
async fn who_waits_for_approval_is_no_member_of_a_report() {
    let world = World::new().await;
    let new = json!({"email": format!("{}@x.example", Uuid::now_v7()), "password": "Horse-Battery-9x", "first_name": "Not",
        "last_name": "Yet", "company_id": world.company});
    let waiting = Person::nobody().post("/api/auth/register", new).await.expect(200)["user"]["id"].clone();
    let users = async || world.admin.get("/api/analytics/users").await.expect(200);
    let said = users().await;
    assert_eq!((&said["summary"]["total_users"], said["user_performance"].as_array().unwrap().len()), (&json!(2), 2));
    let approve = format!("/api/users/{}", waiting.as_str().unwrap());
    world.admin.put(&approve, json!({"role": "Sales Rep"})).await.expect(200);
    assert_eq!(users().await["summary"]["total_users"], 3);
}

/// Rows with a time outside the calendar, such as infinity, are in no report.
#[tokio::test]
async fn a_time_that_is_on_no_day_is_left_out() {
    let acme = World::new().await;
    for odd in ["-infinity", "infinity", "294276-12-31 23:59:59+00", "4000-01-01 BC"] {
        for statement in [
            "insert into activities (tenant_id, company_id, owner_id, type, subject, created_at) values ($1, $1, $2, 'call', 'x', $3::text::timestamptz)",
            "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, duration, created_at)
                values ($1, $1, $2, 'inbound', 'completed', '+1', '+2', 2147483647, $3::text::timestamptz)",
        ] {
            acme.db.execute(statement, &[&acme.company, &acme.admin.id, &odd]).await.unwrap();
        }
    }
    let calls =
        "insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, duration)
        select $1, $1, $2, 'inbound', 'completed', '+1', '+2', 2147483647 from generate_series(1, 2)";
    acme.db.execute(calls, &[&acme.company, &acme.admin.id]).await.unwrap();
    let shown = acme.admin.get("/api/analytics/calls").await.expect(200);
    assert_eq!(
        [&shown["call_metrics"]["total_calls"], &shown["call_durations"]["median_duration"]],
        [&json!(2), &json!(2147483647.0)]
    );
    let shown = acme.admin.get("/api/analytics/activities").await.expect(200);
    assert_eq!(shown["summary"]["total_activities"], json!(0));
    for group in ["day", "week", "month"] {
        let shown = acme.admin.get(&format!("/api/analytics/custom?group_by={group}")).await.expect(200);
        assert!(shown["data"].as_array().is_none_or(Vec::is_empty), "{shown}");
    }
}

async fn differences(world: &World) -> i64 {
    let sql = "with told as (
        select s.tenant_id, s.company_id, s.owner_id, s.week, s.pipeline_id, s.stage_id, s.status, sum(s.deals) as deals, sum(s.value) as value,
          sum(s.stage_seconds) as stage_seconds, sum(s.running) as running, sum(s.closed) as closed, sum(s.closed_seconds) as closed_seconds
        from deal_sums s group by 1, 2, 3, 4, 5, 6, 7 having sum(s.deals) <> 0 or sum(s.value) <> 0 or sum(s.stage_seconds) <> 0
      ), counted as (
        select d.tenant_id, d.company_id, d.owner_id, date_trunc('week', d.created_at, 'UTC'), d.pipeline_id, d.stage_id, d.status, count(*)::numeric,
          sum(d.value), sum(case when d.actual_close_date is null then -round(extract(epoch from d.stage_entered_at))
            else greatest(0, round(extract(epoch from d.actual_close_date - d.stage_entered_at))) end),
          count(*) filter (where d.actual_close_date is null)::numeric,
          count(*) filter (where d.status in ('won', 'lost') and d.actual_close_date is not null)::numeric,
          coalesce(sum(greatest(0, round(extract(epoch from d.actual_close_date - d.created_at)))) filter (where d.status in ('won', 'lost')), 0)
        from deals d where not d.is_deleted group by 1, 2, 3, 4, 5, 6, 7
      )
      select count(*) from ((table told except table counted) union all (table counted except table told)) x
      where x.tenant_id = $1 or x.tenant_id in (select m.tenant_id from members m join members o on o.user_id = m.user_id where o.tenant_id = $1)";
    world.value(sql, &[&world.company]).await
}

#[tokio::test]
async fn the_sums_follow_whatever_happens_to_deals() {
    let mut dice = Dice::new();
    let acme = Filled::new(&mut dice).await;
    let (db, company) = (&acme.world.db, acme.world.company);
    assert_eq!(differences(&acme.world).await, 0);
    let mut newcomers = Vec::new();
    for round in 0..120 {
        let stage = &acme.stages[dice.pick(acme.stages.len())];
        let (owner, status) = (acme.people[dice.pick(3)].id, dice.one(&STATUSES));
        // Some rows at a time, by a part of their id.
        let some = format!("tenant_id = '{company}' and id::text like '%{:x}'", dice.pick(16));
        let done = match dice.pick(11) {
            0 => format!(
                "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status, created_at)
                 select '{company}', case when n % 4 > 0 then '{company}'::uuid end, '{owner}', 'T', n * 1.5, '{}', '{}', '{status}',
                   now() - n * interval '20 hours' from generate_series(1, {}) n",
                stage.1, stage.0, 1 + dice.pick(5)
            ),
            1 => format!("update deals set status = '{status}' where {some}"),
            2 => format!("update deals set value = value + 7.25 where {some}"),
            3 => format!("update deals set pipeline_id = '{}', stage_id = '{}' where {some}", stage.1, stage.0),
            4 => format!("update deals set owner_id = '{owner}' where {some}"),
            5 => format!("update deals set is_deleted = not is_deleted where {some}"),
            6 => format!("delete from deals where {some} and random() < 0.2"),
            7 => format!("update deals set created_at = created_at - interval '9 days', description = 'x' where {some}"),
            8 => format!("update deals set company_id = tenant_id where {some} and company_id is null"),
            9 => format!("select app.fold_deal_sums('{company}')"),
            _ => {
                // A user without company adds deals, and then joins this company; or a user leaves for another.
                match newcomers.pop() {
                    None => {
                        let lone = acme.world.lone().await.id;
                        newcomers.push(lone);
                        format!(
                            "with p as (insert into pipelines (tenant_id, company_id, owner_id, name) values ('{lone}', null, '{lone}', 'P') returning id),
                             s as (insert into pipeline_stages (tenant_id, company_id, owner_id, pipeline_id, name)
                               select '{lone}', null, '{lone}', id, 'S' from p returning id, pipeline_id)
                             insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status)
                             select '{lone}', null, '{lone}', 'T', n, s.pipeline_id, s.id, 'won' from s, generate_series(1, 3) n"
                        )
                    }
                    Some(lone) if dice.chance(50) => format!("select app.assign_company('{lone}', '{company}')"),
                    Some(lone) => {
                        let other = World::new().await.company;
                        format!("select app.assign_company('{lone}', '{company}'); select app.assign_company('{lone}', '{other}')")
                    }
                }
            }
        };
        let failing = dice.chance(10);
        db.batch_execute(if failing { "begin" } else { "" }).await.unwrap();
        db.batch_execute(&done).await.unwrap_or_else(|e| panic!("{done}: {e:?}"));
        db.batch_execute(if failing { "rollback" } else { "" }).await.unwrap();
        assert_eq!(differences(&acme.world).await, 0, "round {round}: {done}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_lose_no_figure_and_do_not_wait() {
    let world = World::new().await;
    let writers = (0..6).map(|n| {
        let (who, company) = (if n % 2 == 0 { world.admin.clone() } else { world.member.clone() }, world.company);
        tokio::spawn(async move {
            let folding = ringfence::db::connect(&crate::support::server::admin_url()).await.unwrap();
            for i in 0..12 {
                let new = json!({"title": format!("{n} {i}"), "value": 10, "stage_id": "Lead"});
                let deal = who.post("/api/deals/", new).await.expect(200);
                let path = format!("/api/deals/{}", deal["id"].as_str().unwrap());
                who.patch(&format!("{path}/move"), json!({"to_stage_id": "proposal"})).await.expect(200);
                who.patch(&path, json!({"status": "won", "value": 25})).await.expect(200);
                folding.execute("select app.fold_deal_sums($1)", &[&company]).await.unwrap();
                if i % 3 == 0 {
                    who.delete(&path).await.expect(200);
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(differences(&world).await, 0);
    let k = &world.admin.get("/api/analytics/dashboard").await.expect(200)["kpis"];
    assert_eq!((number(&k["deals_won"]), number(&k["total_revenue"])), (48.0, 48.0 * 25.0));
    // An open transaction with a changed deal blocks no other writer.
    let open = ringfence::db::connect(&crate::support::server::admin_url()).await.unwrap();
    let begin =
        format!("begin; update deals set value = value + 1 where tenant_id = '{}' and title = '0 1'", world.company);
    open.batch_execute(&begin).await.unwrap();
    world.admin.post("/api/deals/", json!({"title": "X", "value": 1, "stage_id": "Lead"})).await.expect(200);
    open.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn a_deleted_company_leaves_no_sums() {
    let world = World::new().await;
    world.admin.post("/api/deals/", json!({"title": "D", "value": 10, "stage_id": "Lead"})).await.expect(200);
    let people = "update users set is_deleted = true where company_id = $1";
    world.db.execute(people, &[&world.company]).await.unwrap();
    world.super_admin().await.delete(&format!("/api/companies/{}", world.company)).await.expect(200);
    let left: i64 = world.value("select count(*) from deal_sums where tenant_id = $1", &[&world.company]).await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_table_is_whole_and_harmless() {
    let acme = World::new().await;
    let stage = "select id, pipeline_id from pipeline_stages where tenant_id = $1 and name = 'Proposal'";
    let stage = acme.db.query_one(stage, &[&acme.company]).await.unwrap();
    let (stage, pipeline): (Uuid, Uuid) = (stage.get(0), stage.get(1));
    // Many at the same moment, so that a batch ends between them.
    let many = "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, created_at)
        select $1, $1, $2, 'Many ' || n, n, $3, $4, timestamptz '2026-01-01' + (n / 700) * interval '1 second' from generate_series(1, 4500) n";
    acme.db.execute(many, &[&acme.company, &acme.admin.id, &pipeline, &stage]).await.unwrap();
    let odd = [
        ("=SUM(A1)", "1234.5", "open"),
        ("+1", "-5", "lost"),
        ("-x", "0", "won"),
        ("@cmd", "1000000", "open"),
        ("Ärger, \"Straße\" 🦀\nzwei", "1", "abandoned"),
        ("\tTab", "1", "open"),
        ("\u{feff}=1+1", "1", "open"),
    ];
    for (title, value, status) in odd {
        let one = "insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status, created_at, actual_close_date, company)
            values ($1, $1, $2, $3, $4::text::numeric, $5, $6, $7, '2026-03-01 12:00Z', case when $7 = 'won' then timestamptz '2026-03-05 12:00Z' end, $8)";
        let client = if status == "open" { Some("=Client") } else { (status == "lost").then_some("") };
        acme.db
            .execute(one, &[&acme.company, &acme.admin.id, &title, &value, &pipeline, &stage, &status, &client])
            .await
            .unwrap();
    }
    let csv = acme.admin.get("/api/analytics/export/csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let name = csv.headers["content-disposition"].to_str().unwrap();
    assert!(name.starts_with("attachment; filename=analytics-20") && name.ends_with(".csv"), "{name}");
    let mut reader = csv::ReaderBuilder::new().from_reader(csv.text.as_bytes());
    assert_eq!(
        reader.headers().unwrap(),
        &["Deal Title", "Value", "Status", "Stage", "Created Date", "Close Date", "Company"][..]
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let titles: BTreeSet<&str> = rows.iter().map(|r| &r[0]).collect();
    assert_eq!((rows.len(), titles.len()), (4507, 4507));
    assert!(csv.text.contains("Many 1,$1.00,open,Proposal,2026-01-01,N/A,N/A\r\n"));
    let line = |title: &str| rows.iter().find(|r| &r[0] == title).unwrap_or_else(|| panic!("{title}"));
    assert_eq!(line("'=SUM(A1)"), &["'=SUM(A1)", "$1,234.50", "open", "Proposal", "2026-03-01", "N/A", "'=Client"][..]);
    assert_eq!([&line("'+1")[1], &line("'+1")[6]], ["$-5.00", "N/A"]);
    assert_eq!(line("'-x"), &["'-x", "$0.00", "won", "Proposal", "2026-03-01", "2026-03-05", "N/A"][..]);
    assert_eq!(&line("'@cmd")[1], "$1,000,000.00");
    line("'\u{feff}=1+1");
    line("Ärger, \"Straße\" 🦀\nzwei");
    line("'\tTab");
    let part = acme.admin.get("/api/analytics/export/csv?date_from=2026-03-01&date_to=2026-03-01").await;
    assert_eq!(part.text.matches("$").count(), 7);
}

#[tokio::test]
async fn a_table_on_its_way_ends_when_its_reader_leaves_the_company() {
    let (acme, other) = (World::new().await, World::new().await);
    for (world, title, count) in [(&acme, "Own", 60_000), (&other, "Foreign", 10)] {
        let many = "insert into deals (tenant_id, company_id, owner_id, title, pipeline_id, stage_id, created_at)
            select $1, $1, $2, $3 || repeat('x', 200), s.pipeline_id, s.id, now() + n * interval '1 second'
            from generate_series(1, $4::int) n, (select id, pipeline_id from pipeline_stages where tenant_id = $1 limit 1) s";
        let later = if title == "Foreign" { 70_000 } else { 0 };
        world.db.execute(many, &[&world.company, &world.admin.id, &title, &count]).await.unwrap();
        let move_on = "update deals set created_at = created_at + $2::int * interval '1 second' where tenant_id = $1";
        world.db.execute(move_on, &[&world.company, &later]).await.unwrap();
    }
    for end in [
        "select app.assign_company($1, $2)",
        "update users set status = 'suspended' where id = $1 and $2::uuid is not null",
    ] {
        let reader = acme.person("company_user").await;
        let mut response = reader.request("GET", "/api/analytics/export/csv").send().await.unwrap();
        let mut read = response.chunk().await.unwrap().unwrap().to_vec();
        acme.db.execute(end, &[&reader.id, &other.company]).await.unwrap();
        let broken = loop {
            match response.chunk().await {
                Ok(Some(more)) => read.extend_from_slice(&more),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broken, "the table looks whole with {} bytes", read.len());
        assert!(!String::from_utf8_lossy(&read).contains("Foreign"));
    }
}

#[tokio::test]
async fn the_sheet_shows_the_figures() {
    let acme = World::new().await;
    let print = async |query: &str| {
        let sheet = answer(acme.admin.request("GET", &format!("/api/analytics/export/pdf{query}"))).await;
        assert_eq!((sheet.status, &sheet.headers["content-type"]), (200, &"application/pdf".parse().unwrap()));
        let name = sheet.headers["content-disposition"].to_str().unwrap().to_owned();
        assert!(name.starts_with("attachment; filename=analytics-20") && name.ends_with(".pdf"), "{name}");
        let bytes = acme.admin.request("GET", &format!("/api/analytics/export/pdf{query}")).send().await.unwrap();
        let bytes = bytes.bytes().await.unwrap();
        if let Ok(folder) = std::env::var("RINGFENCE_KEEP_PDF") {
            std::fs::write(format!("{folder}/{}.pdf", Uuid::now_v7()), &bytes).unwrap();
        }
        let document = lopdf::Document::load_mem(&bytes).unwrap();
        let pages: Vec<u32> = document.get_pages().keys().copied().collect();
        document.extract_text(&pages).unwrap()
    };
    assert!(print("").await.contains("There are no deals."));
    for n in 0..20 {
        let pipeline = json!({"name": format!("P{n}")});
        if n == 0 {
            acme.admin.post("/api/pipelines", pipeline).await.expect(200);
        }
        let id: Uuid =
            acme.value("select id from pipelines where tenant_id = $1 and name = 'P0'", &[&acme.company]).await;
        let name = match n % 3 {
            0 => format!("A stage with a name that goes on for longer than anybody would want to read it {n}"),
            1 => format!("مرحلة {n}"),
            _ => format!("Stage {n}"),
        };
        let stage = json!({"name": name, "order_index": n});
        let stage = acme.admin.post(&format!("/api/pipelines/{id}/stages"), stage).await.expect(200);
        let value = 10_f64.powi(n / 2) * 1.5;
        let deal = json!({"title": format!("D{n}"), "value": value, "stage_id": stage["id"], "pipeline_id": id,
            "status": if n % 2 == 0 { "won" } else { "open" }});
        acme.admin.post("/api/deals/", deal).await.expect(200);
    }
    let text = print("").await;
    for figure in [
        "Total Deals",
        "20",
        "Total Value",
        "$3,333,333,333.00",
        "Deals Won",
        "10",
        "Win Rate",
        "50.0 %",
        "11 more stages",
    ] {
        assert!(text.contains(figure), "{figure}: {text}");
    }
    let text = print("?date_from=2020-01-01&date_to=2020-12-31").await;
    assert!(text.contains("from 2020-01-01 to 2020-12-31") && text.contains("There are no deals."), "{text}");
}
