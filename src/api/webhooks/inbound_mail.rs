//! A mail as parsed by SendGrid (Inbound Parse), and what is stored of it.

use super::super::prelude::*;
use crate::seal::hexadecimal;
use encoding_rs::Encoding;
use jiff::Timestamp;
use mail_parser::MessageParser;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A mail as parsed by SendGrid.
#[derive(Debug, Default, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[serde(default)]
pub(super) struct ParsedMail {
    from: String,
    to: String,
    cc: String,
    subject: String,
    text: String,
    html: String,
    headers: String,
    /// The SMTP envelope, whatever the headers say: `{"to": […], "from": …}`.
    envelope: String,
    /// The character sets of the other fields, by field name: JSON, too.
    charsets: String,
}

impl ParsedMail {
    /// Whether a field of this name is read.
    pub(super) fn has(name: &str) -> bool {
        Self::default().field_mut(name).is_some()
    }

    /// Decodes a form's fields, each from its own character set, by default UTF-8.
    pub(super) fn of(fields: BTreeMap<String, Vec<u8>>) -> Self {
        let sets = fields.get("charsets").map(Vec::as_slice).unwrap_or_default();
        let sets: BTreeMap<String, Option<String>> = serde_json::from_slice(sets).unwrap_or_default();
        let mut parsed = Self::default();
        for (name, bytes) in fields {
            let set = sets.get(&name).and_then(Option::as_ref);
            // Not character sets that the web has abandoned: they would decode to nothing.
            let set = set.and_then(|set| Encoding::for_label_no_replacement(set.as_bytes()));
            let set = set.unwrap_or(encoding_rs::UTF_8);
            if let Some(text) = parsed.field_mut(&name) {
                *text = set.decode(&bytes).0.replace('\0', "");
            }
        }
        parsed
    }

    fn field_mut(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "from" => &mut self.from,
            "to" => &mut self.to,
            "cc" => &mut self.cc,
            "subject" => &mut self.subject,
            "text" => &mut self.text,
            "html" => &mut self.html,
            "headers" => &mut self.headers,
            "envelope" => &mut self.envelope,
            "charsets" => &mut self.charsets,
            _ => return None,
        })
    }
}

/// The SMTP envelope of a mail.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
}

/// A mail as it is stored.
pub(super) struct Received {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) cc: Option<String>,
    /// Its Message-ID, if it has one.
    pub(super) id: Option<String>,
    /// The id that its content gives it, which it is known by without a Message-ID, or with one that another mail had
    /// first.
    pub(super) id_by_content: String,
    /// What `id_by_content` was if it came before, an hour ago at most, where only what it says tells it from others.
    pub(super) known_as: Option<String>,
    pub(super) in_reply_to: Option<String>,
    /// Ids of earlier mails of its thread, oldest first.
    pub(super) references: Vec<String>,
}

/// The address of the first mailbox, with or without a name (RFC 5322); if the name is malformed, such as by an
/// unterminated quote, the address in angle brackets.
fn address(text: &str) -> Option<String> {
    let is_address = |text: &&str| text.len() <= 255 && text.parse::<lettre::Address>().is_ok();
    let head = format!("To: {}\r\n\r\n", text.replace(['\r', '\n'], " "));
    let parsed = MessageParser::default().parse(head.as_bytes());
    let mailboxes = parsed.as_ref().and_then(|parsed| parsed.to()).into_iter().flat_map(|to| to.iter());
    let by_the_rules = mailboxes.filter_map(|mailbox| mailbox.address()).find(is_address);
    let brackets = || text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(inside, _)| inside.trim());
    by_the_rules.or_else(|| brackets().find(is_address)).map(str::to_owned)
}

/// The address of a mailbox, also one that breaks the rules, such as `j..doe@docomo.ne.jp`.
fn mailbox(text: &str) -> Option<String> {
    address(text).or_else(|| written(text).filter(|text| text.contains('@')))
}

/// What a head says in the place of an address, at most 255 characters: what stands in angle brackets, or else all of
/// it.
fn written(text: &str) -> Option<String> {
    let inside = text.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(inside, _)| inside);
    let text = inside.filter(|inside| !inside.trim().is_empty()).unwrap_or(text);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(255).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// The sender of a mail that names none, as mails do that report a failed delivery (RFC 5321, 4.5.5).
const NO_SENDER: &str = "MAILER-DAEMON";

/// A mail's Message-ID, if all its characters are allowed.
fn message_id(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let fits = (1..=500).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
    fits.then(|| text.to_owned())
}

/// Maximum number of earlier mails of a thread whose ids are kept.
const MAX_REFERENCES: usize = 15;

impl Received {
    /// With what of the mail is `lost` at the end of its text. None when it names no recipient.
    pub(super) fn of(parsed: ParsedMail, lost: &[String]) -> Option<Self> {
        // A blind copy may name nobody in its headers.
        let envelope: Envelope = serde_json::from_str(&parsed.envelope).unwrap_or_default();
        let from =
            mailbox(&parsed.from).or_else(|| mailbox(envelope.from.as_deref()?)).or_else(|| written(&parsed.from));
        let from = from.unwrap_or_else(|| NO_SENDER.into());
        let to = mailbox(&parsed.to).or_else(|| envelope.to.iter().find_map(|to| mailbox(to)));
        let to = to.or_else(|| written(&parsed.to))?;
        let head = MessageParser::default().parse(parsed.headers.as_bytes());
        let ids = |value: &mail_parser::HeaderValue<'_>| -> Vec<String> {
            value.as_text_list().unwrap_or_default().iter().filter_map(|id| message_id(id)).collect()
        };
        let id = head.as_ref().and_then(|head| message_id(head.message_id()?));
        let in_reply_to = head.as_ref().and_then(|head| ids(head.in_reply_to()).pop());
        let mut references = head.as_ref().map(|head| ids(head.references())).unwrap_or_default();
        if let Some(answered) = &in_reply_to {
            references.retain(|id| id != answered);
            references.push(answered.clone());
        }
        references.drain(..references.len().saturating_sub(MAX_REFERENCES));
        let is_dated = head.as_ref().is_some_and(|head| head.date().is_some());
        // The same mail has the same id, even if its sender set none. Without a date, the same content is the same mail
        // for an hour or two only: a web form may send it every day.
        let all = [&*parsed.from, &parsed.to, &parsed.subject, &parsed.headers, &parsed.text, &parsed.html].join("\0");
        let hash = hexadecimal(&Sha256::digest(all));
        let (id_by_content, known_as) = if is_dated {
            (format!("{hash}@received.invalid"), None)
        } else {
            let hour = Timestamp::now().as_second() / 3600;
            (format!("{hash}.{hour}@received.invalid"), Some(format!("{hash}.{}@received.invalid", hour - 1)))
        };
        let subject = parsed.subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        let cc: String = parsed.cc.chars().filter(|c| !c.is_control()).take(5000).collect();
        let is_html = !parsed.html.trim().is_empty();
        let mut body = if is_html { parsed.html } else { parsed.text };
        for sentence in lost {
            body +=
                &if is_html { format!("\n<p>[{}]</p>", super::escaped(sentence)) } else { format!("\n\n[{sentence}]") };
        }
        let cc = Some(cc).filter(|cc| !cc.trim().is_empty());
        let body = body.replace('\0', "");
        Some(Self { from, to, subject, body, cc, id, id_by_content, known_as, in_reply_to, references })
    }
}
