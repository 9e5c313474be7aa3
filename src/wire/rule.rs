//! The rules for fields that many bodies have: addresses, names, amounts, tags. A field names its rule, such as
//! `#[garde(custom(wire::name))]`, and a value that breaks it is answered with a 422 and the rule's sentence.

use serde_json::{Map, Value};

/// The rule for the address of an account that may exist already. Addresses of old accounts have any form, so only an
/// `@` with something before and behind it is required.
pub fn old_address(text: &str, _: &()) -> garde::Result {
    let is_one = text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    if is_one { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

/// The rule for the address of a new account. Mail must reach it from outside, which it does not if the domain is a
/// name on a local network or an IP address.
pub fn new_address(text: &str, _: &()) -> garde::Result {
    let address = text.parse::<lettre::Address>();
    let is_public = address.is_ok_and(|a| a.domain().contains('.') && !a.domain().starts_with('['));
    if is_public { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

/// The rule for the identifier of a Twilio account.
pub fn account_sid(text: &str, _: &()) -> garde::Result {
    let fits = text.len() == 34 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { Ok(()) } else { Err(garde::Error::new("The account SID has 34 letters and digits")) }
}

/// Whether a character is allowed in an XML document (XML 1.0, 2.2, "Char").
pub fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// The largest amount of money; the database stores amounts as `numeric(15, 2)`.
pub const MAX_MONEY: f64 = 9_999_999_999_999.99;
/// The rule for a number that is stored with `PLACES` decimals. A number with more is refused instead of rounded
/// silently.
pub fn decimals<const PLACES: i32>(number: &f64, _: &()) -> garde::Result {
    let scale = 10_f64.powi(PLACES);
    // A float parsed from a decimal number of this few places is the nearest one to it, and so is the result here.
    let is_kept = (number * scale).round() / scale == *number;
    if is_kept { Ok(()) } else { Err(garde::Error::new(format!("Input should have at most {PLACES} decimals"))) }
}

/// Maximum number of characters of a longer text, such as a description.
pub const MAX_TEXT_CHARS: usize = 20_000;
/// Maximum size, in bytes, of a record's custom fields as JSON. Lists are returned whole, and a few fields of a
/// megabyte would make one too large.
const MAX_CUSTOM_FIELDS_BYTES: usize = 64 << 10;
/// The rule for a record's custom fields.
pub fn fields(fields: &Map<String, Value>, _: &()) -> garde::Result {
    let fit = serde_json::to_vec(fields).is_ok_and(|json| json.len() <= MAX_CUSTOM_FIELDS_BYTES);
    if fit { Ok(()) } else { Err(garde::Error::new("Input should be at most 64 KiB of JSON")) }
}

/// Maximum number of tags of a record.
pub const MAX_TAGS: usize = 100;
/// Maximum number of characters of a tag.
pub const MAX_TAG_CHARS: usize = 100;

/// Whether a character is visible, or part of something that is.
fn is_visible(c: char) -> bool {
    let is_blank = c.is_whitespace() || c.is_control();
    // Soft hyphens, joiners, marks of direction, and fillers (Unicode: Default_Ignorable_Code_Point).
    let is_ignorable = matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}');
    !is_blank && !is_ignorable
}

/// Whether a character controls or formats what is shown and shows nothing itself (Unicode: Cc, Cf, Zl, Zp, but for
/// Arabic, Syriac and Kaithi signs that show; the function `app.plain` of the database has the same).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'..='\u{e007f}')
}

/// The rule for company names, by which people at a terminal or at psql tell companies apart: the rule for names, no
/// invisible characters, and not the form of an id.
pub fn company_name(text: &str, _: &()) -> garde::Result {
    name(text, &())?;
    if text.trim().contains(is_hidden) {
        return Err(garde::Error::new("The name must not contain invisible characters"));
    }
    if text.trim().parse::<uuid::Uuid>().is_ok() {
        return Err(garde::Error::new("The name must not be an id"));
    }
    Ok(())
}

/// The rule for names of people and companies: not blank, at most 255 characters, no HTML. The frontend looks for the
/// words of these sentences (contract: conventions, "Error bodies").
pub fn name(text: &str, _: &()) -> garde::Result {
    let looks_like_html = text.split_once('<').is_some_and(|(_, rest)| rest.contains('>'));
    let problem = if !text.chars().any(is_visible) {
        "The name must not be empty"
    } else if text.chars().count() > 255 {
        "The name must not exceed 255 characters"
    } else if looks_like_html {
        "The name must not contain HTML tags"
    } else {
        return Ok(());
    };
    Err(garde::Error::new(problem))
}

/// The rule for the subject of a mail: one line, because a line break would begin another header.
pub fn subject(text: &str, _: &()) -> garde::Result {
    if text.chars().any(char::is_control) { Err(garde::Error::new("The subject must be one line")) } else { Ok(()) }
}
