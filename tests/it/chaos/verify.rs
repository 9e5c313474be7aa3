//! What must hold after any fault, read from the database and from the providers.

use super::{
    load::{Kind, Load, Written},
    rig::Rig,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use tokio_postgres::Client;
use uuid::Uuid;

/// Where the rows of each kind are: marker, company, and what they say.
const TABLES: &[(Kind, &str)] = &[
    (Kind::Contact, "select first_name, company_id, phone from contacts"),
    (Kind::Activity, "select subject, company_id, null from activities where type = 'note'"),
    (Kind::Deal, "select title, company_id, null from deals"),
    (Kind::File, "select replace(original_name, '.txt', ''), company_id, null from files"),
    (Kind::Text, "select body, company_id, null from sms_messages where direction = 'outbound'"),
    (Kind::Scheduled, "select body, company_id, null from scheduled_sms"),
    (Kind::Campaign, "select campaign_name, company_id, null from campaigns"),
];

/// Queries for counters that do not match what they count.
const COUNTERS: &[(&str, &str)] = &[
    (
        "the files of a company",
        "select c.name from companies c left join (select tenant_id, count(*) as files, sum(size) as bytes from files where not is_deleted group by 1) f
         on f.tenant_id = c.id where c.name like 'Chaos %' and (c.file_count, c.storage_bytes) is distinct from (coalesce(f.files, 0), coalesce(f.bytes, 0))",
    ),
    (
        "the sums of deals",
        "select d.tenant_id::text from (select tenant_id, count(*) as deals, sum(value) as value from deals where not is_deleted group by 1) d
         join companies c on c.id = d.tenant_id and c.name like 'Chaos %'
         left join (select tenant_id, sum(deals) as deals, sum(value) as value from deal_sums group by 1) s using (tenant_id)
         where (d.deals, d.value) is distinct from (s.deals, s.value)",
    ),
    (
        "the mails of a campaign",
        "select c.campaign_name from campaigns c
         left join (select campaign_id, count(*) as mails, count(*) filter (where state = 'sent') as sent from campaign_recipients group by 1) r
         on r.campaign_id = c.id where c.campaign_name like 'c%-campaign'
         and (c.total_recipients, c.total_sent) <> (coalesce(r.mails, 0), coalesce(r.sent, 0))",
    ),
    (
        "the messages of a conversation",
        "select v.to_number from conversations v join companies c on c.id = v.company_id and c.name like 'Chaos %'
         left join (select conversation_id, count(*) as texts from sms_messages group by 1) m on m.conversation_id = v.id
         where v.message_count is distinct from coalesce(m.texts, 0)",
    ),
    (
        "the texts of a number",
        "select n.phone_number from phone_numbers n join companies c on c.id = n.company_id and c.name like 'Chaos %'
         left join (select sender_id, count(*) as texts from sms_messages where twilio_sid is not null group by 1) m on m.sender_id = n.id
         where n.total_messages_sent is distinct from coalesce(m.texts, 0)",
    ),
    (
        "the steps of a run",
        "select x.id::text from workflow_executions x join companies c on c.id = x.company_id and c.name like 'Chaos %'
         left join (select execution_id, count(*) filter (where status = 'success') as done, count(*) filter (where status = 'failed') as failed
           from workflow_steps group by 1) s on s.execution_id = x.id
         where (x.success_count, x.failure_count) <> (coalesce(s.done, 0), coalesce(s.failed, 0))",
    ),
    (
        "the runs of a deal",
        "select d.title from deals d join companies c on c.id = d.company_id and c.name like 'Chaos %'
         left join (select tenant_id, record_id, count(*) as runs from workflow_executions group by 1, 2) x
         on x.tenant_id = d.tenant_id and x.record_id = d.id where coalesce(x.runs, 0) <> 1",
    ),
    (
        "the tasks of a run",
        "select a.subject from activities a where a.subject like 'task c%' group by 1 having count(*) > 1",
    ),
];

/// Everything that is wrong.
pub async fn wrong(rig: &Rig, load: &Load) -> Vec<String> {
    let mut wrong = Vec::new();
    // What is acknowledged by now must be in what is read afterwards.
    let noted = load.ledger.lock().unwrap().written.clone();
    let admin = rig.admin().await;
    let ids: HashMap<Uuid, usize> = load.companies.iter().enumerate().map(|(n, company)| (company.id, n)).collect();
    for (kind, sql) in TABLES {
        let mut found: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
        for row in admin.query(*sql, &[]).await.unwrap() {
            let (marker, company, says): (Option<String>, Option<Uuid>, Option<String>) =
                (row.get(0), row.get(1), row.get(2));
            let marker = marker.unwrap_or_default();
            if !marker.ends_with(kind.word()) {
                continue;
            }
            let own = marker.split('-').next().map(str::to_owned);
            let company = company.and_then(|id| ids.get(&id)).map(|n| load.companies[*n].tag.clone());
            if own != company {
                wrong.push(format!("{marker} is of company {company:?}"));
            }
            let entry = found.entry(marker).or_default();
            *entry = (entry.0 + 1, says);
        }
        let now = load.ledger.lock().unwrap().written.clone();
        for (marker, written) in noted.iter().filter(|(_, written)| written.kind == *kind) {
            // A row that was changed meanwhile may have either value.
            let is_settled = now[marker].says == written.says;
            wrong.extend(compare(marker, written, found.get(marker), is_settled));
        }
    }
    for (what, sql) in COUNTERS {
        let rows = admin.query(*sql, &[]).await.unwrap();
        wrong.extend(rows.iter().take(3).map(|row| format!("{what} are counted wrong: {}", row.get::<_, String>(0))));
    }
    wrong.extend(sends(rig, load, &noted));
    wrong
}

fn compare(
    marker: &str,
    written: &Written,
    found: Option<&(usize, Option<String>)>,
    is_settled: bool,
) -> Option<String> {
    let times = found.map_or(0, |(times, _)| *times);
    if times > 1 {
        return Some(format!("{marker} is there {times} times"));
    }
    if written.id.is_some() && times == 0 {
        return Some(format!("{marker} was acknowledged and is lost"));
    }
    let says = found?.1.clone().unwrap_or_default();
    (is_settled && !written.says.contains(&says)).then(|| format!("{marker} says {says} and not {:?}", written.says))
}

/// Checks that nothing is sent twice or from another company's account, and that what was acknowledged was sent.
fn sends(rig: &Rig, load: &Load, noted: &BTreeMap<String, Written>) -> Vec<String> {
    let mut wrong = Vec::new();
    let texts = rig.providers.texts();
    for (body, accounts) in &texts {
        let marker = body.split(' ').next_back().unwrap_or_default();
        let tag = marker.split('-').next().unwrap_or_default();
        let Some(company) = load.companies.iter().find(|company| company.tag == tag) else { continue };
        if accounts.len() > 1 {
            wrong.push(format!("{body} was sent {} times", accounts.len()));
        }
        if accounts.iter().any(|account| *account != company.account) {
            wrong.push(format!("{body} was sent by {accounts:?}"));
        }
    }
    for (marker, _) in noted.iter().filter(|(_, w)| w.kind == Kind::Text && w.id.is_some()) {
        if !texts.contains_key(marker) {
            wrong.push(format!("{marker} was acknowledged and not sent"));
        }
    }
    let mails = rig.providers.mails();
    let twice = mails.iter().filter(|(_, times)| **times > 1);
    wrong.extend(twice.map(|(to, times)| format!("{to} got {times} mails of one campaign")));
    wrong
}

/// Work that is left undone, once there was time for it.
const UNDONE: &[(&str, &str)] = &[
    ("campaigns", "select count(*) from campaigns where status = 'sending'"),
    (
        "recipients",
        "select count(*) from campaign_recipients r join campaigns c on c.id = r.campaign_id and c.campaign_name like 'c%-campaign' and c.status <> 'draft' where r.state in ('pending', 'sending')",
    ),
    (
        "runs",
        "select count(*) from workflow_executions x join companies c on c.id = x.company_id and c.name like 'Chaos %' where x.status = 'running'",
    ),
    (
        "scheduled texts",
        "select count(*) from scheduled_sms s join companies c on c.id = s.company_id and c.name like 'Chaos %'
        left join sms_messages m on m.id = s.message_id
        where not s.is_cancelled and (not s.is_sent or m.status = 'failed' and m.error_message like '%nothing was sent')",
    ),
    (
        "texts without an answer",
        "select count(*) from sms_messages m join companies c on c.id = m.company_id and c.name like 'Chaos %' where m.status = 'queued'",
    ),
];

/// Waits until no work is left. Claims of dead workers end after minutes; here they end once no worker can still be at
/// work.
pub async fn drain(rig: &Rig) -> Vec<String> {
    let start = Instant::now();
    let admin = rig.admin().await;
    loop {
        let left = undone(&admin).await;
        if left.is_empty() || start.elapsed() > Duration::from_secs(240) {
            return left;
        }
        // Longer than the timeout for a provider's response.
        if start.elapsed() > Duration::from_secs(40) {
            let end =
                "update campaign_recipients set tried_at = tried_at - interval '10 minutes' where state = 'sending';
                update jobs set run_at = now() where run_at > now() and failed_at is null
                  and company_id in (select id from companies where name like 'Chaos %')";
            admin.batch_execute(end).await.unwrap();
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn undone(admin: &Client) -> Vec<String> {
    let mut left = Vec::new();
    for (what, sql) in UNDONE {
        let count: i64 = admin.query_one(*sql, &[]).await.unwrap().get(0);
        if count > 0 {
            left.push(format!("{count} {what} are left undone"));
        }
    }
    left
}

/// The outcomes, for the summary; and messages that count as sent but never arrived.
pub async fn finished(rig: &Rig, load: &Load) -> (String, Vec<String>) {
    let admin = rig.admin().await;
    let mut wrong = Vec::new();
    let (texts, mails) = (rig.providers.texts(), rig.providers.mails());
    let sent = "select m.body from sms_messages m join companies c on c.id = m.company_id and c.name like 'Chaos %' where m.status = 'sent'";
    for row in admin.query(sent, &[]).await.unwrap() {
        let body: String = row.get(0);
        if !texts.contains_key(&body) {
            wrong.push(format!("{body} counts as sent and never arrived"));
        }
    }
    let sent = "select r.email from campaign_recipients r join campaigns c on c.id = r.campaign_id and c.campaign_name like 'c%-campaign' where r.state = 'sent'";
    for row in admin.query(sent, &[]).await.unwrap() {
        let to: String = row.get(0);
        if !mails.contains_key(&to) {
            wrong.push(format!("the mail to {to} counts as sent and never arrived"));
        }
    }
    // A task is the last step of a run, and a run that has ended has added it.
    let tasks = "select d.title from deals d join workflow_executions x on x.record_id = d.id join companies c on c.id = d.company_id and c.name like 'Chaos %'
        where x.status in ('success', 'partial') and 1 <> (select count(*) from activities a where a.tenant_id = d.tenant_id and a.subject = 'task ' || d.title)";
    wrong.extend(
        admin
            .query(tasks, &[])
            .await
            .unwrap()
            .iter()
            .map(|row| format!("{} has not one task", row.get::<_, String>(0))),
    );
    let doubt = "with own as (select id from companies where name like 'Chaos %')
        select (select count(*) from sms_messages where status = 'failed' and error_message like '%may have%' and company_id in (table own)),
          (select count(*) from campaign_recipients where state = 'failed' and error_message like '%may have%' and company_id in (table own)),
          (select count(*) from workflow_executions where status = 'failed' and company_id in (table own)),
          (select count(*) from jobs where failed_at is not null and company_id in (table own))";
    let row = admin.query_one(doubt, &[]).await.unwrap();
    let counts: Vec<i64> = (0..4).map(|n| row.get(n)).collect();
    let [texts_in_doubt, mails_in_doubt, failed_runs, given_up] = counts[..] else { unreachable!("four columns") };
    let ledger = load.ledger.lock().unwrap();
    let acknowledged = ledger.written.values().filter(|written| written.id.is_some()).count();
    let summary = format!(
        "{} requests; {acknowledged} of {} writes acknowledged, all there once; {} texts and {} mails delivered, none twice;\n\
         {texts_in_doubt} texts and {mails_in_doubt} mails of which nobody knows whether they arrived; {failed_runs} runs of workflows failed; {given_up} jobs given up",
        ledger.requests,
        ledger.written.len(),
        texts.len(),
        mails.len(),
    );
    (summary, wrong)
}
