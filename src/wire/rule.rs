//! The rules of what many bodies have: addresses, names, amounts, tags. A field names its rule, such as
//! `#[garde(custom(wire::name))]`, and what breaks it is a 422 with the sentence.

/// The rule of the address of an account that may be there: old ones are of any form, so only the sign that makes one is
/// asked for.
pub fn old_address(text: &str, _: &()) -> garde::Result {
    let is_one = text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    if is_one { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

/// The rule of an address that an account is to have. Mail has to get there from outside, which it does not where the domain
/// is a name of a local network or a number.
pub fn new_address(text: &str, _: &()) -> garde::Result {
    let address = text.parse::<lettre::Address>();
    let is_public = address.is_ok_and(|a| a.domain().contains('.') && !a.domain().starts_with('['));
    if is_public { Ok(()) } else { Err(garde::Error::new("Input should be an e-mail address")) }
}

/// Whether a document of XML may have a character (XML 1.0, 2.2, "Char").
pub fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// The largest amount of money, which the database keeps as `numeric(15, 2)`.
pub const MONEY: f64 = 9_999_999_999_999.99;
/// The rule of a number that is kept with so many decimals: more are not rounded without a word.
pub fn decimals<const PLACES: i32>(number: &f64, _: &()) -> garde::Result {
    let scale = 10_f64.powi(PLACES);
    // Of a decimal number with that few places the float is the nearest one, and so is what this makes of it.
    let is_kept = (number * scale).round() / scale == *number;
    if is_kept { Ok(()) } else { Err(garde::Error::new(format!("Input should have at most {PLACES} decimals"))) }
}

/// Tags of one thing.
pub const TAGS: usize = 100;
/// Characters of a tag.
pub const TAG_LENGTH: usize = 100;

/// Whether a character shows, or stands for something that does.
fn is_visible(c: char) -> bool {
    let is_blank = c.is_whitespace() || c.is_control();
    // Soft hyphens, joiners, marks of direction, and fillers (Unicode: Default_Ignorable_Code_Point).
    let is_ignorable = matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}');
    !is_blank && !is_ignorable
}

/// The rule of names of people and companies: not blank, at most 255 characters, no HTML. The frontend looks for these
/// words in the sentence (contract: conventions, "Error bodies").
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

/// The rule of the subject of a mail: one line, because a line break would begin another head.
pub fn subject(text: &str, _: &()) -> garde::Result {
    if text.chars().any(char::is_control) { Err(garde::Error::new("The subject must be one line")) } else { Ok(()) }
}
