//! SendGrid's webhooks: incoming mails, and events of sent ones. The key in the URL names the company and proves it
//! (`mail_hooks`); events must also be signed if the company has entered SendGrid's public key.

use super::{
    super::prelude::*,
    inbound_mail::{ParsedMail, Received},
    intake::{self, MailPace, slow},
    part_heads::Heads,
};
use crate::{clients::storage::Writing, db};
use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::{HeaderMap, header},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use p256::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier},
    pkcs8::DecodePublicKey,
};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Maximum size of a mail with attachments, in bytes; SendGrid accepts 30 MB.
pub(super) const MAX_MAIL_BYTES: usize = 32 << 20;
/// Maximum size of one text part of a mail, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Maximum number of a mail's files that are kept.
const MAX_FILES: usize = 20;
/// Maximum size of a mail as JSON, in bytes; it is read into memory.
const MAX_JSON_BYTES: usize = 8 << 20;
/// How long a mail may take to arrive, whatever its pace.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The key in the address.
#[derive(Deserialize, Default)]
struct HookQuery {
    #[serde(default)]
    key: String,
}

row! {
    /// A company's webhook: the user who receives mail, and the public key.
    pub struct Hook {
        user_id: Uuid,
        verification_key: Option<String>,
    }
}

/// An authenticated company.
struct Known {
    company: Uuid,
    /// For opt-outs only if the company is suspended.
    db: TenantDb,
    is_suspended: bool,
    verification_key: Option<String>,
}

/// The company whose key is in the URL; a suspended one only `with_opt_outs`.
async fn known(app: &App, query: Option<&str>, with_opt_outs: bool) -> Result<Known> {
    let hook: HookQuery = wire::query(query).unwrap_or_default();
    let company = hook.key.split_once('.').and_then(|(company, _)| company.parse().ok());
    let company: Uuid = company.ok_or_else(refused)?;
    let hash = Sha256::digest(&hook.key).to_vec();
    let found = async |db: TenantDb| db.optional::<Hook>(sql!("webhooks/hook"), &[&hash]).await;
    let mut hook = found(TenantDb::for_company(&app.db, company, Uuid::nil())).await;
    let is_suspended = with_opt_outs && matches!(hook, Err(Error::Suspended));
    if is_suspended {
        hook = found(TenantDb::for_opt_out(&app.db, company, Uuid::nil())).await;
    }
    let hook: Option<Hook> = match hook {
        Err(Error::InvalidToken | Error::Suspended | Error::NoCompany) => None,
        hook => hook?,
    };
    let Hook { user_id, verification_key } = hook.ok_or_else(refused)?;
    let enter = if is_suspended { TenantDb::for_opt_out } else { TenantDb::for_company };
    Ok(Known { company, db: enter(&app.db, company, user_id), is_suspended, verification_key })
}

/// One sentence for every reason.
fn refused() -> Error {
    Error::Forbidden("The key is not valid".into())
}

/// A request whose body is not read before its company is known.
pub(super) struct Unread(Request);

impl FromRequest<App> for Unread {
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        Ok(Self(request))
    }
}

impl aide::OperationInput for Unread {}

/// A file that came with a mail, in the store and not yet in the database.
struct Stored {
    id: Uuid,
    key: String,
    name: String,
    kind: Option<String>,
    size: i64,
    sha256: [u8; 32],
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Heard {
    /// `ok` or `error`.
    status: &'static str,
    message: &'static str,
}

pub(super) async fn inbound(app: State<App>, Unread(request): Unread) -> Result<Json<Heard>> {
    let Known { company, db, .. } = known(&app, request.uri().query(), false).await?;
    let _permit = intake::permit(company).await?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Came { parsed, files, objects, lost } = if kind.starts_with("multipart/") {
        let form = Multipart::from_request(readable(kind.to_owned(), request), &()).await.map_err(wire::body_error)?;
        tokio::time::timeout(TIMEOUT, read(&app, company, form)).await.map_err(|_| slow())??
    } else {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, intake::whole(body, MAX_JSON_BYTES).await?.into());
        Came { parsed: Json::<ParsedMail>::from_request(request, &app).await?.0, ..Came::default() }
    };
    // SendGrid would retry after any response but 200.
    let Some(mail) = Received::of(parsed, &lost) else {
        return Ok(Json(Heard { status: "error", message: "The mail names no recipient" }));
    };
    // Even if the sender disconnects, this completes, and the files' content is kept or deleted accordingly.
    let is_new = app.run_to_completion(write_down(db, mail, files, objects)).await??;
    let message = if is_new { "Email received" } else { "The email is known already" };
    Ok(Json(Heard { status: "ok", message }))
}

/// The form with its part headers cleaned, so that they can be parsed.
fn readable(kind: String, request: Request) -> Request {
    let Some(mut heads) = Heads::of(&kind) else { return request };
    request.map(|body| Body::from_stream(body.into_data_stream().map_ok(move |piece| heads.clean(piece))))
}

/// Stores a mail with its files, unless it is known already. If that certainly failed, the files' content is deleted.
/// In doubt it is kept: if the rows are there, a retry finds the mail known.
async fn write_down(db: TenantDb, mail: Received, files: Vec<Stored>, mut objects: Vec<Writing>) -> Result<bool> {
    objects.iter_mut().for_each(Writing::keep);
    let kept = keep(&db, &mail, &files).await;
    let is_undone = kept.as_ref().map_or_else(Error::is_undone, |kept| !kept);
    if is_undone {
        objects.into_iter().for_each(Writing::discard);
    }
    kept
}

/// Stores a mail and its files in one transaction; returns whether the mail is new.
async fn keep(db: &TenantDb, mail: &Received, files: &[Stored]) -> Result<bool> {
    let ids: Vec<Uuid> = files.iter().map(|file| file.id).collect();
    let kept = db.tx(async |tx| {
        let Received { from, to, subject, body, cc, id, id_by_content, known_as, in_reply_to, references } = mail;
        let params: Params<'_> =
            &[from, to, subject, body, cc, id, in_reply_to, references, &ids, known_as, id_by_content];
        let stored = async || tx.optional::<Uuid>(sql!("webhooks/received").planned_anew(), params).await;
        let mut kept = stored().await?;
        // Another mail with the same id may have been stored at the same moment, which only the next statement sees.
        if kept.is_none() && id.is_some() {
            kept = stored().await?;
        }
        for Stored { id, key, name, kind, size, sha256 } in files.iter().filter(|_| kept.is_some()) {
            let params: Params<'_> = &[id, name, kind, size, &sha256.as_slice(), key, &kept];
            tx.one::<Uuid>(sql!("webhooks/attachment"), params).await?;
        }
        Ok(kept.is_some())
    });
    kept.await
}

/// A mail that has arrived.
#[derive(Default)]
struct Came {
    parsed: ParsedMail,
    files: Vec<Stored>,
    objects: Vec<Writing>,
    /// A sentence for each part that is not kept.
    lost: Vec<String>,
}

/// Reads the form part by part; files are streamed into the store, each up to the size of a mail.
async fn read(app: &App, company: Uuid, mut form: Multipart) -> Result<Came> {
    let (mut fields, mut came, mut pace) = (BTreeMap::new(), Came::default(), MailPace::new());
    while let Some(mut field) = pace.next(form.next_field()).await?.map_err(wire::body_error)? {
        let (name, file) = (field.name().unwrap_or_default().to_owned(), file_name(&field));
        if file.is_some() && came.files.len() < MAX_FILES {
            let (file, object) = store(app, company, field, &mut pace).await?;
            came.files.push(file);
            came.objects.push(object);
            continue;
        }
        let (mut bytes, mut size) = (Vec::new(), 0);
        while let Some(chunk) = pace.chunk(&mut field).await? {
            let room = MAX_TEXT_BYTES - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            size += chunk.len();
        }
        let size = bytesize::ByteSize(size as u64);
        if let Some(file) = file {
            came.lost.push(format!("{file} ({size}) was not kept: of a mail, the first {MAX_FILES} files are"));
        } else if ParsedMail::has(&name) {
            if matches!(&*name, "text" | "html") && size.0 > MAX_TEXT_BYTES as u64 {
                came.lost.push(format!("Of this text ({size}) only the beginning was kept"));
            }
            fields.insert(name, bytes);
        }
    }
    came.parsed = ParsedMail::of(fields);
    Ok(came)
}

/// The name of a file that comes with a mail, if it is one.
fn file_name(field: &Field<'_>) -> Option<String> {
    let name = wire::file_name(field)?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
    Some(if name.trim().is_empty() { "attachment".to_owned() } else { name })
}

/// Streams a file into the store.
async fn store(app: &App, company: Uuid, mut field: Field<'_>, pace: &mut MailPace) -> Result<(Stored, Writing)> {
    let name = file_name(&field).unwrap_or_default();
    let kind = field.content_type().map(str::to_owned).filter(|kind| (1..=255).contains(&kind.len()));
    let id = Uuid::now_v7();
    let key = format!("{company}/{id}");
    let storage = crate::store_owner::for_writing(app).await?;
    let mut writing = storage.write(&key, &app.background).await.map_err(Error::of_storage)?;
    while let Some(chunk) = pace.chunk(&mut field).await? {
        writing.put(&chunk).await.map_err(Error::of_storage)?;
    }
    let sha256 = writing.finish().await.map_err(Error::of_storage)?;
    let size = writing.size() as i64;
    Ok((Stored { id, key, name, kind, size, sha256 }, writing))
}

/// Maximum size of a list of events, in bytes.
pub(super) const MAX_EVENTS_BYTES: usize = 1 << 20;
/// Maximum number of events in a list. SendGrid sends up to 768 KB of them, each of some hundred bytes.
const MAX_EVENTS: usize = 5_000;

/// The events after which nothing more is sent to an address.
const OPT_OUTS: [&str; 3] = ["bounced", "complaint", "unsubscribe"];

/// One event, with the fields that matter here.
#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    email: String,
    timestamp: i64,
    /// Id of the mail's row, as SendGrid got it with the mail.
    mail: Uuid,
    /// The mail's company, as SendGrid got it with the mail: companies that share a SendGrid account get each other's
    /// events.
    company: Option<Uuid>,
    /// Kind of a bounce; `blocked` is temporary.
    #[serde(default, rename = "type")]
    kind: String,
}

impl Event {
    /// As sql/webhooks/mail_opt_outs.sql and sql/webhooks/mail_events.sql take it.
    fn for_statements(self) -> Option<Value> {
        let event = match self.event.as_str() {
            "delivered" => "delivered",
            "open" => "opened",
            "click" => "clicked",
            "bounce" if self.kind != "blocked" => "bounced",
            "bounce" | "dropped" => "dropped",
            "spamreport" => "complaint",
            "unsubscribe" | "group_unsubscribe" => "unsubscribe",
            _ => return None,
        };
        // A wrong clock may give any time, even one in the future.
        let at = Time(Timestamp::from_second(self.timestamp.clamp(0, Timestamp::now().as_second())).ok()?);
        let address = self.email.replace('\0', "");
        let Self { mail, company, .. } = self;
        Some(json!({ "mail": mail, "company": company, "event": event, "at": format!("{at}Z"), "address": address }))
    }
}

/// The relevant events of a list; others are skipped, whatever their form.
struct Events(Vec<Value>);

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Events;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Events, A::Error> {
                let (mut events, mut count) = (Vec::new(), 0);
                while let Some(event) = list.next_element::<&RawValue>()? {
                    count += 1;
                    if count > MAX_EVENTS {
                        return Err(A::Error::custom("there are too many events"));
                    }
                    events.extend(serde_json::from_str::<Event>(event.get()).ok().and_then(Event::for_statements));
                }
                Ok(Events(events))
            }
        }
        d.deserialize_seq(List)
    }
}

row! {
    /// A mail that was opened for the first time.
    pub struct Opened {
        id: Uuid,
        user_id: Uuid,
    }
}

pub(super) async fn events(app: State<App>, Unread(request): Unread) -> Result<Json<wire::Done>> {
    let query = request.uri().query();
    let known = db::retry_webhook(|_| known(&app, query, true)).await?;
    let Known { company, db, is_suspended, verification_key } = known;
    let headers = request.headers().clone();
    let body = wire::read(request.into_limited_body()).await?;
    if verification_key.is_some_and(|key| !is_signed(&key, &headers, &body)) {
        return Err(refused());
    }
    let events: Result<Events, _> = serde_json::from_slice(&body);
    let Events(mut events) =
        events.map_err(|_| Error::invalid("body", "", "Input should be a list of at most 5000 events"))?;
    events.retain(|event| !is_suspended || OPT_OUTS.iter().any(|opt_out| event["event"] == *opt_out));
    let events = Value::Array(events);
    let heard = db::retry_webhook(|_| async {
        let opened = db.tx(async |tx| {
            tx.all::<bool>(sql!("webhooks/mail_opt_outs"), &[&events]).await?;
            tx.all(sql!("webhooks/mail_events"), &[&events]).await
        });
        let opened: Vec<Opened> = opened.await?;
        for Opened { id, user_id } in opened {
            // As the mail's owner, whose workflows this triggers.
            let owner = TenantDb::for_company(&app.db, company, user_id);
            owner.optional::<Uuid>(sql!("webhooks/mail_opened"), &[&id]).await?;
        }
        Ok(wire::done("Heard"))
    });
    heard.await
}

/// Verifies the ECDSA signature of timestamp and body with SendGrid's public key ("Signed Event Webhook").
fn is_signed(key: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(format!("x-twilio-email-event-webhook-{name}"))?.to_str().ok();
    let is_valid = || {
        let key = VerifyingKey::from_public_key_der(&BASE64_STANDARD.decode(key).ok()?).ok()?;
        let signature = Signature::from_der(&BASE64_STANDARD.decode(header("signature")?).ok()?).ok()?;
        let signed = [header("timestamp")?.as_bytes(), body].concat();
        key.verify(&signed, &signature).ok()
    };
    is_valid().is_some()
}
