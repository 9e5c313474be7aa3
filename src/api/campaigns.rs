//! E-mail campaigns: one mail to many recipients. The job `campaign` sends them.

use super::prelude::*;
use crate::mailing;
use std::collections::HashSet;

routes! {
    /// Campaigns, newest first
    tenant get "/api/email-campaigns/" => list;
    /// Creates a campaign; one with a time is sent at that time
    tenant post "/api/email-campaigns/" => create;
    /// One campaign
    tenant get "/api/email-campaigns/{campaign_id}" => get;
    /// Sends a campaign now or at its time; a failed one goes to the recipients still pending
    tenant post "/api/email-campaigns/{campaign_id}/send" => send;
    /// The delivery state of each recipient
    tenant get "/api/email-campaigns/{campaign_id}/analytics" => recipients;
    /// Deletes a campaign that is not being sent
    tenant delete "/api/email-campaigns/{campaign_id}" => delete;
}

row! {
    /// A campaign; `sent_at` is when sending began, `error_message` why it failed as a whole.
    pub struct Campaign {
        id: Uuid,
        campaign_name: String,
        subject: String,
        status: String,
        scheduled_at: Option<Time>,
        sent_at: Option<Time>,
        total_recipients: i32,
        total_sent: i32,
        total_delivered: i32,
        total_opened: i32,
        total_clicked: i32,
        total_bounced: i32,
        error_message: Option<String>,
        created_at: Time,
    }
}

row! {
    /// A recipient. `state` is `pending`, `sending`, `sent`, `failed`, or `suppressed` if the address may not be
    /// mailed.
    pub struct Recipient {
        campaign_id: Uuid,
        recipient_email: String,
        sent_at: Option<Time>,
        delivered_at: Option<Time>,
        opened_at: Option<Time>,
        clicked_at: Option<Time>,
        bounced_at: Option<Time>,
        opened: bool,
        clicked: bool,
        bounced: bool,
        state: String,
        error_message: Option<String>,
    }
}

row! {
    /// A campaign after a request to send it; it has no status if it was sent before.
    pub struct Started as "Campaign" {
        id: Uuid,
        status: Option<String>,
        is_historical: bool,
        had_failed: bool,
    }
}

#[derive(Serialize, JsonSchema)]
struct Sent {
    message: &'static str,
    campaign_id: Uuid,
    /// `sending` or `scheduled`.
    status: String,
}

words! {
    enum CampaignStatus { Draft = "draft", Scheduled = "scheduled", Sending = "sending", Sent = "sent", Failed = "failed" }
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    status: Option<CampaignStatus>,
}

#[derive(Deserialize, Validate, JsonSchema)]
#[garde(allow_unvalidated)]
struct NewCampaign {
    #[garde(length(chars, max = 255), custom(not_blank))]
    campaign_name: String,
    /// One line.
    #[garde(length(chars, max = 255), custom(wire::subject))]
    subject: String,
    /// Plain text.
    #[garde(length(chars, max = 500_000))]
    body: String,
    /// The body in HTML.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 500_000))]
    html_body: Option<String>,
    /// From 1 to 10000 addresses; duplicates are dropped.
    #[garde(custom(addresses))]
    recipients: Vec<String>,
    /// Name of the SendGrid IP pool that sends it.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    #[garde(length(chars, max = 50))]
    ip_pool: Option<String>,
    /// When to send it; must be in the future.
    #[serde(default, deserialize_with = "wire::blank_is_none")]
    scheduled_at: Option<Time>,
}

fn not_blank(text: &str, _: &()) -> garde::Result {
    if text.trim().is_empty() { Err(garde::Error::new("The name must not be empty")) } else { Ok(()) }
}

fn addresses(list: &[String], _: &()) -> garde::Result {
    if !(1..=10_000).contains(&list.len()) {
        return Err(garde::Error::new("A campaign has from 1 to 10000 recipients"));
    }
    let fits = |address: &str| address.len() <= 255 && address.parse::<lettre::Address>().is_ok();
    match list.iter().position(|address| !fits(address.trim())) {
        Some(n) => Err(garde::Error::new(format!("Recipient {} should be an e-mail address", n + 1))),
        None => Ok(()),
    }
}

async fn list(db: TenantDb, Query(filter): Query<Filter>, Bounded(page): Bounded) -> Result<Paged<Campaign>> {
    match filter.status.map(CampaignStatus::word) {
        None => page.list(&db, list!("campaigns/list").planned_once(), &[]).await,
        Some(status) => page.list(&db, list!("campaigns/of_status").planned_anew(), &[&status]).await,
    }
}

async fn create(db: TenantDb, Json(new): Json<NewCampaign>) -> Result<wire::Created<Campaign>> {
    let NewCampaign { campaign_name, subject, body, html_body, recipients, ip_pool, scheduled_at } = new;
    if body.trim().is_empty() && html_body.is_none() {
        return Err(Error::invalid("body", "body", "The campaign should say something"));
    }
    let mut seen = HashSet::new();
    let mut recipients: Vec<String> = recipients.iter().map(|address| address.trim().to_lowercase()).collect();
    recipients.retain(|address| seen.insert(address.clone()));
    // In the order of the request.
    let ids: Vec<Uuid> = recipients.iter().map(|_| Uuid::now_v7()).collect();
    let params: Params<'_> = &[&campaign_name, &subject, &body, &html_body, &ip_pool, &scheduled_at, &recipients, &ids];
    let made: Option<Campaign> = db.optional(sql!("campaigns/create"), params).await?;
    made.map(wire::Created).ok_or(Error::bad_request("The time must be in the future"))
}

async fn get(db: TenantDb, Path(id): Path<Uuid>) -> Result<Written<Campaign>> {
    db.one(sql!("campaigns/get"), &[&id]).await
}

async fn send(app: State<App>, db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Sent>> {
    db.one::<Campaign>(sql!("campaigns/get"), &[&id]).await?;
    mailing::unsubscribe_base(&app)?;
    mailing::require_route(&app, &db).await?;
    let started: Started = db.one(sql!("campaigns/send"), &[&id]).await?;
    if started.is_historical {
        return Err(Error::bad_request("This campaign belongs to no company yet: it can be sent when it does"));
    }
    let ended = match started.had_failed {
        true => "This campaign has failed for all of its recipients: create a new one for those who should get it",
        false => "This campaign has been sent",
    };
    let status = started.status.ok_or(Error::bad_request(ended))?;
    let message = if status == "sending" { "Campaign is being sent" } else { "Campaign is scheduled" };
    Ok(Json(Sent { message, campaign_id: id, status }))
}

async fn recipients(db: TenantDb, Path(id): Path<Uuid>) -> Result<Rows<Recipient>> {
    db.one::<Campaign>(sql!("campaigns/get"), &[&id]).await?;
    db.list(sql!("campaigns/recipients"), &[&id]).await
}

async fn delete(db: TenantDb, Path(id): Path<Uuid>) -> Result<Json<Message>> {
    let deleted: Option<bool> = db.optional(sql!("campaigns/delete"), &[&id]).await?;
    match deleted {
        None => Err(Error::not_found("Campaign")),
        Some(false) => Err(Error::bad_request("A campaign that is being sent or was sent cannot be deleted")),
        Some(true) => Ok(message("Campaign deleted")),
    }
}
