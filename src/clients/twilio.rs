//! Twilio's REST API (version 2010-04-01): texts, calls, numbers, and the check of an account.

use super::{Failure, Http};
use crate::config::Config;
use serde::Deserialize;

/// Twilio's API.
pub struct Twilio {
    http: Http,
    base: String,
}

/// A company's account.
#[derive(Clone)]
pub struct Credentials {
    /// `AC…`.
    pub account_sid: String,
    /// Signs Twilio's callbacks, and authenticates requests to Twilio.
    pub auth_token: String,
}

/// Twilio's response for a text or call that it has accepted.
#[derive(Debug, Deserialize)]
pub struct Taken {
    /// Twilio's id of it.
    pub sid: String,
    /// Twilio's status of it.
    #[serde(default)]
    pub status: String,
}

/// A number of an account.
#[derive(Debug, Deserialize, serde::Serialize)]
pub struct Number {
    /// Twilio's id of it.
    pub sid: String,
    /// In E.164.
    pub phone_number: String,
    /// Its name in the account.
    pub friendly_name: Option<String>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// What a number can do.
#[derive(Debug, Clone, Copy, Default, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct Capabilities {
    /// Texts.
    #[serde(alias = "SMS")]
    pub sms: bool,
    /// Calls.
    pub voice: bool,
    /// Pictures.
    #[serde(alias = "MMS")]
    pub mms: bool,
}

#[derive(Deserialize)]
struct Account {
    status: String,
}

#[derive(Deserialize)]
struct Numbers {
    incoming_phone_numbers: Vec<Number>,
    next_page_uri: Option<String>,
}

/// The body of an error response.
#[derive(Deserialize)]
struct Refusal {
    code: Option<i64>,
    message: Option<String>,
}

/// The maximum number of phone numbers that are read of one account.
const MAX_NUMBERS: usize = 10_000;

impl Twilio {
    /// The API at `RINGFENCE_TWILIO_URL`.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { http: Http::new()?, base: config.twilio_url.trim_end_matches('/').to_owned() })
    }

    /// How often Twilio took nothing since the start.
    pub fn failures(&self) -> u64 {
        self.http.failures.so_far()
    }

    /// Sends a text; Twilio reports its status to `callback`.
    pub async fn send(
        &self,
        account: &Credentials,
        from: &str,
        to: &str,
        body: &str,
        callback: Option<&str>,
    ) -> Result<Taken, Failure> {
        let mut form = vec![("From", from), ("To", to), ("Body", body)];
        form.extend(callback.map(|url| ("StatusCallback", url)));
        self.create(account, "Messages", &form).await
    }

    /// Calls a number and speaks what `twiml` says.
    pub async fn call(
        &self,
        account: &Credentials,
        from: &str,
        to: &str,
        twiml: &str,
        callback: Option<&str>,
    ) -> Result<Taken, Failure> {
        let mut form = vec![("From", from), ("To", to), ("Twiml", twiml)];
        if let Some(url) = callback {
            form.push(("StatusCallback", url));
            form.extend(["initiated", "ringing", "answered", "completed"].map(|event| ("StatusCallbackEvent", event)));
        }
        self.create(account, "Calls", &form).await
    }

    /// Whether the account exists and is active.
    pub async fn is_active(&self, account: &Credentials) -> Result<bool, Failure> {
        let url = format!("{}/2010-04-01/Accounts/{}.json", self.base, path_part(&account.account_sid));
        Ok(self.read::<Account>(account, &url).await?.status == "active")
    }

    /// The account's numbers, at most `limit`.
    pub async fn numbers(&self, account: &Credentials, limit: usize) -> Result<Vec<Number>, Failure> {
        let limit = limit.min(MAX_NUMBERS);
        let account_path = format!("/2010-04-01/Accounts/{}", path_part(&account.account_sid));
        let mut next = Some(format!("{account_path}/IncomingPhoneNumbers.json?PageSize={}", limit.min(1000)));
        let mut numbers = Vec::new();
        while let Some(path) = next.take().filter(|_| numbers.len() < limit) {
            // Twilio chooses the path of the next page, but never its host.
            if !path.starts_with(&account_path) {
                return Err(Failure::Unclear);
            }
            let page: Numbers = self.read(account, &format!("{}{path}", self.base)).await?;
            numbers.extend(page.incoming_phone_numbers);
            next = page.next_page_uri.filter(|uri| !uri.is_empty());
        }
        numbers.truncate(limit);
        Ok(numbers)
    }

    async fn create(&self, account: &Credentials, what: &str, form: &[(&str, &str)]) -> Result<Taken, Failure> {
        let url = format!("{}/2010-04-01/Accounts/{}/{what}.json", self.base, path_part(&account.account_sid));
        let form = serde_urlencoded::to_string(form).map_err(|_| Failure::Unclear)?;
        let request = self.http.client.post(url).basic_auth(&account.account_sid, Some(&account.auth_token));
        let taken: Taken =
            self.answer(request.header("content-type", "application/x-www-form-urlencoded").body(form)).await?;
        if taken.sid.is_empty() || taken.sid.len() > 100 { Err(Failure::Unclear) } else { Ok(taken) }
    }

    async fn read<T: for<'a> Deserialize<'a>>(&self, account: &Credentials, url: &str) -> Result<T, Failure> {
        self.answer(self.http.client.get(url).basic_auth(&account.account_sid, Some(&account.auth_token))).await
    }

    async fn answer<T: for<'a> Deserialize<'a>>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let (status, _, body) = self.http.exchange(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| Failure::Unclear);
        }
        let said: Option<Refusal> = serde_json::from_slice(&body).ok();
        match status.as_u16() {
            429 => Err(Failure::Busy),
            // Twilio's own 503, and not one of a proxy in between, which may have forwarded the request.
            503 if said.as_ref().is_some_and(|said| said.code.is_some()) => Err(Failure::Busy),
            400..=499 => Err(Failure::Refused {
                code: said.as_ref().and_then(|said| said.code),
                message: said.and_then(|said| said.message).unwrap_or_else(|| "no reason given".into()),
            }),
            _ => Err(Failure::Unclear),
        }
    }
}

fn path_part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The error message for a refusal, for users (contract: sms, "Errors").
pub fn sentence(code: Option<i64>, message: &str) -> String {
    match code {
        Some(20003) => "Twilio refused the credentials: check the account SID and the auth token".into(),
        Some(21408) => "Twilio is not enabled for this region: allow it in Twilio's geographic permissions".into(),
        Some(21606 | 21659) => "The sender is not a number of this Twilio account".into(),
        Some(21211 | 21614) => "The recipient's number is not valid".into(),
        Some(21610) => "This number has opted out of text messages".into(),
        Some(code) => format!("Twilio refused it: {} ({code})", brief(message)),
        None => format!("Twilio refused it: {}", brief(message)),
    }
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
