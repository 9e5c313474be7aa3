//! Conditions on the fields of a run's records.

use super::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// The maximum number of conditions of a workflow or action.
pub(super) const MAX_CONDITIONS: usize = 20;

/// A condition: compares a field with a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// A path such as `deal.value` or `contact.status`. A bare name is a field of the record or of the trigger's data.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// The value to compare with: a list for `in`, nothing for `is_empty` and `is_not_empty`.
    #[serde(default)]
    pub value: Value,
}

/// How a field is compared with a value. Texts are compared case-insensitively, numbers as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// The field equals the value.
    Equals,
    /// The field does not equal the value.
    NotEquals,
    /// The text contains this value, or the list has this element.
    Contains,
    /// The text does not contain this value, or the list lacks this element.
    NotContains,
    /// The text starts with this value.
    StartsWith,
    /// Greater than this number, or later than this time.
    GreaterThan,
    /// Less than this number, or earlier than this time.
    LessThan,
    /// The field equals an element of this list.
    In,
    /// The field is null or missing, or an empty text or list.
    IsEmpty,
    /// The field has a value.
    IsNotEmpty,
}

impl Condition {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let takes_none = matches!(self.operator, Operator::IsEmpty | Operator::IsNotEmpty);
        if self.field.trim().is_empty() || self.field.chars().count() > 100 {
            Some(("field", "A field has 1 to 100 characters".into()))
        } else if self.operator == Operator::In && !self.value.is_array() {
            Some(("value", "A list is needed".into()))
        } else if !takes_none && (self.value.is_null() || self.value.is_object()) {
            Some(("value", "A value is needed".into()))
        } else {
            None
        }
    }

    fn holds(&self, context: &Context) -> bool {
        let found = context.at(&self.field);
        let value = &self.value;
        match self.operator {
            Operator::Equals => same(found, value),
            Operator::NotEquals => !same(found, value),
            Operator::Contains => contains(found, value),
            Operator::NotContains => !contains(found, value),
            Operator::StartsWith => text(found).starts_with(&text(value)),
            Operator::GreaterThan => compare(found, value).is_some_and(|order| order.is_gt()),
            Operator::LessThan => compare(found, value).is_some_and(|order| order.is_lt()),
            Operator::In => value.as_array().is_some_and(|list| list.iter().any(|one| same(found, one))),
            Operator::IsEmpty => is_empty(found),
            Operator::IsNotEmpty => !is_empty(found),
        }
    }
}

/// Whether all of them hold.
pub fn hold(conditions: &[Condition], context: &Context) -> bool {
    conditions.iter().all(|condition| condition.holds(context))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.to_lowercase(),
        other => other.to_string(),
    }
}

/// A number with all its digits: as floating point, long ones that differ could be equal.
#[derive(PartialEq)]
struct Decimal {
    /// -1, 0 or 1.
    sign: i8,
    /// The number of digits before the decimal point, counted from the first nonzero digit, and the digits without
    /// outer zeros.
    size: (i64, String),
}

impl Decimal {
    /// Names such as NaN or Infinity are not numbers here.
    fn of(value: &Value) -> Option<Self> {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.filter(|n: &f64| n.is_finite())?;
        let text = text(value);
        let (mantissa, exponent) = text.trim().split_once('e').unwrap_or((text.trim(), "0"));
        let digits = mantissa.trim_start_matches(['+', '-']);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        let few = all.trim_start_matches('0');
        if few.is_empty() {
            return Some(Self { sign: 0, size: (0, String::new()) });
        }
        let places = i64::from(exponent.parse::<i32>().ok()?) + few.len() as i64 - fraction.len() as i64;
        let sign = if mantissa.starts_with('-') { -1 } else { 1 };
        Some(Self { sign, size: (places, few.trim_end_matches('0').to_owned()) })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = self.size.cmp(&other.size);
        self.sign.cmp(&other.sign).then(if self.sign < 0 { size.reverse() } else { size })
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (Decimal::of(a), Decimal::of(b)) {
        (Some(a), Some(b)) => a == b,
        _ => text(a) == text(b),
    }
}

fn contains(found: &Value, value: &Value) -> bool {
    match found {
        Value::Array(list) => list.iter().any(|one| same(one, value)),
        other => text(other).contains(&text(value)),
    }
}

/// Compares numbers by value, and times (ISO 8601 in UTC) by their moment.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (Decimal::of(a), Decimal::of(b)) {
        return Some(a.cmp(&b));
    }
    let moment = |value: &Value| value.as_str()?.parse::<crate::wire::Time>().ok();
    Some(moment(a)?.cmp(&moment(b)?))
}
