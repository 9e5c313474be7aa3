//! Tokens in URLs for people who are not signed in: to unsubscribe, and to record that a mail was opened. A token names
//! the company, the user and the row that it is about, and its signature proves that this server issued it for that
//! purpose; so no lookup crosses companies, and a token is of no use for another row.

use crate::signed::Signer;
use uuid::Uuid;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A recipient of a campaign unsubscribes.
    Unsubscribe = 1,
    /// A mail was opened.
    Mail = 2,
    /// A mail of a campaign was opened.
    CampaignMail = 3,
}

/// What a token is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The row's company.
    pub company: Uuid,
    /// The row's user.
    pub user: Uuid,
    /// The row.
    pub row: Uuid,
}

/// The keys of the tokens.
pub struct Links(Signer);

/// Size of a token without its signature, in bytes.
const CONTENT_BYTES: usize = 1 + 3 * 16;

impl Links {
    /// Keys derived from those that seal the secrets.
    pub fn new(keys: &[String]) -> Self {
        Self(Signer::new(keys, "links"))
    }

    /// The token.
    pub fn token(&self, purpose: Purpose, link: &Link) -> String {
        let mut content = vec![purpose as u8];
        for id in [link.company, link.user, link.row] {
            content.extend_from_slice(id.as_bytes());
        }
        self.0.sign(&[], content)
    }

    /// What a token is about, if this server issued it for this purpose.
    pub fn read(&self, purpose: Purpose, token: &str) -> Option<Link> {
        let content = self.0.open(&[], token)?;
        if content.len() != CONTENT_BYTES || content[0] != purpose as u8 {
            return None;
        }
        let id = |n: usize| Uuid::from_slice(&content[1 + n * 16..][..16]).ok();
        Some(Link { company: id(0)?, user: id(1)?, row: id(2)? })
    }
}

/// The HTML of a mail with a tracking pixel, whose URL records that the mail was opened.
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
