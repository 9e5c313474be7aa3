//! Tokens in addresses for people who are not signed in: who wants no more mail, and whose mail was opened. A token names
//! the company, the user and the row that it is about, and its signature proves that this server made it for that purpose;
//! so nothing is looked up across companies, and one row's token is of no use for another.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A recipient of a campaign wants no more mail.
    Unsubscribe = 1,
    /// A mail was opened.
    Mail = 2,
    /// A mail of a campaign was opened.
    CampaignMail = 3,
}

/// What a token is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The company whose row it is.
    pub company: Uuid,
    /// The row's user.
    pub user: Uuid,
    /// The row.
    pub row: Uuid,
}

/// The keys, newest first: the first signs, all of them prove.
pub struct Links(Vec<Vec<u8>>);

/// Bytes of the signature.
const SIGNATURE: usize = 16;
/// Bytes before it.
const CONTENT: usize = 1 + 3 * 16;

impl Links {
    /// Keys made of those that seal the secrets: they outlive the tokens of a session, as addresses in mails must.
    pub fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| hash(key.as_bytes(), b"links")).collect())
    }

    /// The token.
    pub fn token(&self, purpose: Purpose, link: &Link) -> String {
        let mut bytes = vec![purpose as u8];
        for id in [link.company, link.user, link.row] {
            bytes.extend_from_slice(id.as_bytes());
        }
        let signature = hash(&self.0[0], &bytes);
        bytes.extend_from_slice(&signature[..SIGNATURE]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token of this server is about, if it is one for this purpose.
    pub fn read(&self, purpose: Purpose, token: &str) -> Option<Link> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (content, signature) = bytes.split_at_checked(CONTENT)?;
        let is_ours = |key: &Vec<u8>| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key has any length");
            mac.update(content);
            mac.verify_truncated_left(signature).is_ok()
        };
        if signature.len() != SIGNATURE || content[0] != purpose as u8 || !self.0.iter().any(is_ours) {
            return None;
        }
        let id = |n: usize| Uuid::from_slice(&content[1 + n * 16..][..16]).ok();
        Some(Link { company: id(0)?, user: id(1)?, row: id(2)? })
    }
}

fn hash(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key has any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The HTML of a mail with a picture of one point in it, whose address tells that the mail was opened.
pub fn with_pixel(html: &str, address: &str) -> String {
    let pixel = format!(r#"<img src="{address}" width="1" height="1" alt="" style="display:none">"#);
    let end = html
        .char_indices()
        .rev()
        .find(|(at, _)| html.get(*at..*at + 7).is_some_and(|tag| tag.eq_ignore_ascii_case("</body>")));
    match end {
        Some((at, _)) => format!("{}{pixel}{}", &html[..at], &html[at..]),
        None => format!("{html}{pixel}"),
    }
}
