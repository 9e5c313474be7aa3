//! SendGrid's API (v3) for mail.

use super::{
    Failure, Http,
    mail::{Attachment, OutgoingEmail},
};
use crate::config::Config;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use std::collections::BTreeMap;

/// SendGrid's API.
pub struct SendGrid {
    http: Http,
    base: String,
}

impl SendGrid {
    /// The API at `RINGFENCE_SENDGRID_URL`.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { http: Http::new()?, base: config.sendgrid_url.trim_end_matches('/').to_owned() })
    }

    /// How often SendGrid took nothing since the start.
    pub fn failures(&self) -> u64 {
        self.http.failures.so_far()
    }

    /// Sends a mail with a company's key; returns SendGrid's id of it, if it gives one.
    pub async fn send(&self, key: &str, email: &OutgoingEmail) -> Result<Option<String>, Failure> {
        let all = |addresses: &[String]| addresses.iter().map(|email| json!({ "email": email })).collect::<Vec<_>>();
        let mut to = json!({ "to": [{ "email": email.to }] });
        for (name, addresses) in [("cc", &email.cc), ("bcc", &email.bcc)] {
            if !addresses.is_empty() {
                to[name] = json!(all(addresses));
            }
        }
        let (text, html) = email.parts();
        let parts = [("text/plain", text), ("text/html", html)];
        let parts = parts.iter().filter_map(|(kind, text)| Some(json!({ "type": kind, "value": text.as_ref()? })));
        let headers = email.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: BTreeMap<_, _> = headers.chain([("Message-ID", email.message_id.as_str())]).collect();
        let mut body = json!({
            "personalizations": [to],
            "from": { "email": email.from },
            "reply_to": { "email": email.reply_to },
            "subject": email.subject,
            "content": parts.collect::<Vec<_>>(),
            "headers": headers,
            "custom_args": { "mail": email.row, "company": email.company },
        });
        if let Some(pool) = &email.ip_pool {
            body["ip_pool_name"] = json!(pool);
        }
        if !email.attachments.is_empty() {
            let attachments = email.attachments.iter().map(|Attachment { name, kind, bytes }| {
                json!({ "filename": name, "type": kind, "content": BASE64_STANDARD.encode(bytes) })
            });
            body["attachments"] = attachments.collect();
        }
        let request = self.http.client.post(format!("{}/v3/mail/send", self.base)).bearer_auth(key);
        let (status, headers, said) =
            self.http.exchange(request.header("content-type", "application/json").body(body.to_string())).await?;
        let id = headers.get("x-message-id").and_then(|id| id.to_str().ok()).map(|id| id.chars().take(255).collect());
        let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        match status.as_u16() {
            200..=299 => Ok(id),
            429 => Err(Failure::Busy),
            // SendGrid's own 503, and not one of a proxy in between, which may have forwarded the request.
            503 if said["errors"].is_array() => Err(Failure::Busy),
            code @ 400..=499 => {
                let message = said["errors"][0]["message"].as_str().unwrap_or("no reason given").to_owned();
                let is_recipients = code == 400 && is_recipients(&said["errors"]);
                Err(if is_recipients { Failure::Refused { code: None, message } } else { Failure::Closed(message) })
            }
            _ => Err(Failure::Unclear),
        }
    }
}

/// Whether one of the faults that were found with a mail may be its recipient's: it names no field, or one of those
/// that are each recipient's own. The key, what was paid for and all other fields are the same for everybody.
fn is_recipients(faults: &serde_json::Value) -> bool {
    let is_own = |field: &str| field.starts_with("personalizations");
    faults.as_array().is_none_or(|faults| faults.iter().any(|fault| fault["field"].as_str().is_none_or(is_own)))
}
