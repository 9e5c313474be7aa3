//! The templates of actions: `{{ contact.first_name }}`, `{% if … %}` and `{% for … in … %}`, by minijinja. Users of
//! all companies write them and share the server, so the language is small, and nothing in it can produce much output
//! from little input. Blocks are `if`, and `for` over a list of the context. There are no functions, no `*` and no `{`;
//! the filters are those below; and each template's steps and output are limited.

use super::Context;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters, tests, value::Serde,
};
use std::{io, sync::LazyLock};

/// The maximum number of characters of a template.
pub(super) const LENGTH: usize = 20_000;
/// The maximum number of characters of a tag, and of blocks of a template. Chains and nesting are as deep as they are
/// long, and parsing, compiling and dropping them takes stack for each level.
const TAG: usize = 300;
const BLOCKS: usize = 100;
/// The maximum number of steps of one template.
const FUEL: u64 = 3_000;
/// The maximum output of one template, in bytes.
const OUTPUT: usize = 64 << 10;

fn environment() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(20);
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.add_filter("upper", filters::upper);
    env.add_filter("lower", filters::lower);
    env.add_filter("title", filters::title);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("trim", filters::trim);
    env.add_filter("length", filters::length);
    env.add_filter("default", filters::default);
    env.add_filter("int", filters::int);
    env.add_filter("float", filters::float);
    env.add_filter("round", filters::round);
    env.add_filter("abs", filters::abs);
    env.add_filter("first", filters::first);
    env.add_filter("last", filters::last);
    env.add_filter("safe", filters::safe);
    env.add_filter("join", join);
    env.add_filter("date", date);
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env
}

/// `tags|join(", ")`: joins the elements of a list with a short separator.
fn join(list: Vec<Value>, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_else(|| ", ".into());
    if between.chars().count() > 10 {
        return Err(Error::new(ErrorKind::InvalidOperation, "what is put in between has at most 10 characters"));
    }
    Ok(list.iter().map(Value::to_string).collect::<Vec<_>>().join(&between))
}

/// `deal.expected_close_date|date`: a time in the company's zone, by default as `2026-11-23`. A plain date is stored as
/// midnight in UTC (contract: deals, activities), and stays that date in every zone.
fn date(state: &State<'_, '_>, moment: String, format: Option<String>) -> Result<String, Error> {
    let wrong = |what: &'static str| Error::new(ErrorKind::InvalidOperation, what);
    let moment = moment.parse::<crate::wire::Time>().map_err(|_| wrong("`date` needs a time"))?;
    let company = state.lookup("company").and_then(|company| company.get_attr("timezone").ok());
    let zone = company.and_then(|zone| jiff::tz::TimeZoneDatabase::bundled().get(zone.as_str()?).ok());
    let is_day = moment.0.as_nanosecond() % jiff::SignedDuration::from_hours(24).as_nanos() == 0;
    let zone = zone.filter(|_| !is_day).unwrap_or(jiff::tz::TimeZone::UTC);
    let format = format.unwrap_or_else(|| "%Y-%m-%d".into());
    // A width would make a short text long.
    let has_width =
        |part: &str| part.trim_start_matches(['_', '-', '^', '#']).starts_with(|c: char| c.is_ascii_digit());
    if format.len() > 50 || format.split('%').skip(1).any(has_width) {
        return Err(wrong("the format of a date is short and has no widths"));
    }
    jiff::fmt::strtime::format(&format, &moment.0.to_zoned(zone))
        .map_err(|_| wrong("the format of a date is not known"))
}

static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(environment);
static HTML: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = environment();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env
});

/// Checks a template; the error says in which line it is wrong.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.chars().count() > LENGTH {
        return Err("A template has at most 20000 characters".into());
    }
    if !is_one(text) {
        return Ok(());
    }
    tame(text)?;
    let template = PLAIN.template_from_str(text).map_err(|e| words(&e))?;
    // Filters are looked up only when a template is rendered.
    match template.render(()) {
        Err(e)
            if matches!(e.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction) =>
        {
            Err(words(&e))
        }
        _ => Ok(()),
    }
}

/// Whether a text contains a template.
pub(super) fn is_one(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// Fills a template; also returns the number of steps. In HTML the inserted values are escaped.
pub(super) fn render(text: &str, context: &Context, html: bool) -> Result<(String, u64), String> {
    tame(text)?;
    let env = if html { &HTML } else { &PLAIN };
    let mut out = Short(Vec::new());
    let template = env.template_from_str(text).map_err(|e| words(&e))?;
    let rendered = template.render_captured_to(context.seen.clone(), &mut out).map_err(|e| words(&e))?;
    let fuel = rendered.state().fuel_levels().map_or(FUEL, |(used, _)| used);
    Ok((String::from_utf8(out.0).map_err(|_| "The text is not UTF-8")?, fuel))
}

/// The maximum number of elements of a list, including lists in it, that a template sees: a filter processes all of it
/// in one step.
const LIST: usize = 100;
/// The maximum number of characters of a field's name.
const MAX_NAME_CHARS: usize = 100;

/// What templates see of a context; its lists may have `left` more elements.
pub(super) fn seen(value: &serde_json::Value, left: &mut usize) -> Value {
    match value {
        serde_json::Value::Array(list) => {
            let most = LIST.min(*left);
            let mut few = most;
            let elements = list.iter().map_while(|one| {
                few = few.checked_sub(1)?;
                Some(seen(one, &mut few))
            });
            let elements = elements.collect();
            *left -= most - few;
            elements
        }
        serde_json::Value::Object(map) => Value::from_pairs(map.iter().map_while(|(name, one)| {
            *left = left.checked_sub(1)?;
            Some((name.chars().take(MAX_NAME_CHARS).collect::<String>(), seen(one, left)))
        })),
        one => Value::from(Serde(one)),
    }
}

fn words(e: &Error) -> String {
    let line = e.line().map(|line| format!("Line {line}: ")).unwrap_or_default();
    let what = match e.kind() {
        ErrorKind::OutOfFuel => "the template takes too long".to_owned(),
        ErrorKind::WriteFailure => "the text is too long".to_owned(),
        kind => match e.detail() {
            Some(detail) => detail.chars().take(200).collect(),
            None => kind.to_string(),
        },
    };
    format!("{line}{what}")
}

/// A buffer for at most [`OUTPUT`] bytes.
struct Short(Vec<u8>);

impl io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses what could produce much output from little input. A tag ends at its first end mark outside of a string,
/// because it contains no `{`.
fn tame(text: &str) -> Result<(), String> {
    let mut rest = text;
    let mut blocks = 0;
    loop {
        let Some(start) = rest.find('{') else { return Ok(()) };
        let line = 1 + text[..text.len() - rest.len() + start].matches('\n').count();
        let (mark, inside) = (&rest[start..], rest.get(start + 2..).unwrap_or_default());
        let end = match mark.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                rest = &rest[start + 1..];
                continue;
            }
        };
        let length =
            if end == "#}" { inside.find(end) } else { tag(inside, end).map_err(|e| format!("Line {line}: {e}"))? };
        if end != "#}" && inside[..length.unwrap_or(inside.len())].chars().count() > TAG {
            return Err(format!("Line {line}: a tag has at most {TAG} characters"));
        }
        // A tag without an end is an error that the parser explains better.
        let Some(length) = length else { return Ok(()) };
        if end == "%}" {
            blocks += 1;
            if blocks > BLOCKS {
                return Err(format!("Line {line}: a template has at most {BLOCKS} blocks"));
            }
            block(&inside[..length]).map_err(|e| format!("Line {line}: {e}"))?;
        }
        rest = &inside[length + 2..];
    }
}

/// The index at which a tag ends.
fn tag(inside: &str, end: &str) -> Result<Option<usize>, &'static str> {
    let mut quote = None;
    let mut escaped = false;
    for (place, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if inside[place..].starts_with(end) => return Ok(Some(place)),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '*' || c == '{' => return Err("`*` and `{` have no meaning in a template here"),
            None => {}
        }
    }
    Ok(None)
}

fn block(inside: &str) -> Result<(), &'static str> {
    let inside = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
    let (word, header) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    let name = |text: &str, extra: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || extra.contains(c))
    };
    match word {
        "if" | "elif" | "else" | "endif" | "endfor" => Ok(()),
        "for" => {
            let is_plain =
                header.split_once(" in ").is_some_and(|(one, list)| name(one.trim(), "") && name(list.trim(), "."));
            if is_plain { Ok(()) } else { Err("a loop has the form {% for tag in deal.tags %}") }
        }
        _ => Err("the blocks of a template are if and for"),
    }
}
