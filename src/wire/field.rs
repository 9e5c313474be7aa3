//! How a field is read: `#[serde(default, deserialize_with = "wire::…")]`. These tables list the functions; `T` is the
//! value's type. Without one, serde accepts a value of the field's type and, for an `Option`, also `null` or no value.
//!
//! | in a body | type | absent | `null` | `""` | invalid |
//! |---|---|---|---|---|---|
//! | [`blank_is_none`] | `Option<T>` | `None` | `None` | `None` | 422 |
//! | [`fitting`] | `Option<T>` | `None` | `None` | `None` | `None` |
//! | [`number`], [`boolean`] | `T`, `bool` | 422 | 422 | 422 | 422 |
//! | [`optional_number`], [`optional_boolean`] | `Option<T>`, `Option<bool>` | `None` | `None` | 422 | 422 |
//! | [`or_default`] | `T` | its default | its default | as `T` reads it | 422 |
//! | [`address`] | `String` | 422 | 422 | `""` | 422 |
//! | [`optional_address`] | `Option<String>` | `None` | `None` | `Some("")` | 422 |
//!
//! | in a change | type | absent | `null` | `""` | invalid |
//! |---|---|---|---|---|---|
//! | [`nullable`] | `Option<Option<T>>` | `None` | `Some(None)` | as `T` reads it | 422 |
//! | [`nullable_number`] | `Option<Option<T>>` | `None` | `Some(None)` | 422 | 422 |
//! | [`given`] | `Option<T>` | `None` | 422 | as `T` reads it | 422 |
//! | [`given_boolean`] | `Option<bool>` | `None` | 422 | 422 | 422 |
//!
//! | in a query | type | absent | blank | invalid |
//! |---|---|---|---|---|
//! | [`blank_is_none`] | `Option<T>` | `None` | `None` | 422 |
//! | [`fitting`] | `Option<T>` | `None` | `None` | `None` |
//! | [`flag`] | `bool` | `false` | `false` | 422 |
//! | [`optional_flag`] | `Option<bool>` | `None` | `None` | 422 |
//! | [`required_flag`] | `bool` | 422 | 422 | 422 |
//!
//! A field that may be absent needs `default`, on itself or on its struct: with `deserialize_with`, serde requires even
//! an `Option`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr};

/// An optional value in a query or body where an empty string means "not given".
pub fn blank_is_none<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(d: D) -> Result<Option<T>, D::Error> {
    match Option::<Cow<'de, str>>::deserialize(d)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

/// The schema of what [`fitting`] reads: meant for a `T`, but anything is accepted.
pub struct Fitting<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Fitting<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Fitting{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<T>(), {"description": "Anything else means that it is not given."}]})
    }
}

/// An optional value; anything invalid means "not given", as in the old backend.
pub fn fitting<'de, D: Deserializer<'de>, T: FromStr>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::Value::deserialize(d)?.as_str().and_then(|text| text.parse().ok()))
}

/// A kind of number that a body may also contain as a string, as in the old backend: forms send strings.
pub trait Number: Sized {
    /// Reads it, or says what is expected.
    fn read(value: &serde_json::Value) -> Result<Self, String>;
}

impl Number for f64 {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        let number = match value {
            serde_json::Value::Number(number) => number.as_f64(),
            serde_json::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n: &f64| n.is_finite()).ok_or_else(|| "Input should be a valid number".into())
    }
}

impl Number for i64 {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        let digits = match value {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        let whole = match digits.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole,
            _ => &digits,
        };
        whole.parse().map_err(|_| "Input should be a whole number".into())
    }
}

impl Number for i32 {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        let range = || format!("Input should be a whole number from {} to {}", i32::MIN, i32::MAX);
        i64::read(value)?.try_into().map_err(|_| range())
    }
}

/// A number, or a string that is one.
pub fn number<'de, D: Deserializer<'de>, T: Number>(d: D) -> Result<T, D::Error> {
    T::read(&serde_json::Value::deserialize(d)?).map_err(serde::de::Error::custom)
}

/// A number, or a string that is one; `null` means "not given".
pub fn optional_number<'de, D: Deserializer<'de>, T: Number>(d: D) -> Result<Option<T>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(d)?;
    value.map(|value| T::read(&value)).transpose().map_err(serde::de::Error::custom)
}

/// A number in a change, or a string that is one; `null` empties the field.
pub fn nullable_number<'de, D: Deserializer<'de>, T: Number>(d: D) -> Result<Option<Option<T>>, D::Error> {
    optional_number(d).map(Some)
}

/// True or false, or a string or number that stands for it, as in the old backend.
pub fn boolean<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    let known = match serde_json::Value::deserialize(d)? {
        serde_json::Value::Bool(known) => Some(known),
        serde_json::Value::Number(number) => {
            [0.0, 1.0].iter().position(|n| number.as_f64() == Some(*n)).map(|n| n == 1)
        }
        serde_json::Value::String(text) => is_true(&text),
        _ => None,
    };
    known.ok_or_else(|| serde::de::Error::custom(NO_BOOLEAN))
}

/// A [`boolean`] that may be absent or `null`.
pub fn optional_boolean<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(d)?;
    value.map(boolean).transpose().map_err(serde::de::Error::custom)
}

/// A [`boolean`] in a change that cannot be null: absent is `None`, `null` is refused.
pub fn given_boolean<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    boolean(d).map(Some)
}

/// A field in a change: absent is `None`, `null` is `Some(None)`.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// A field in a change that cannot be null: absent is `None`, `null` is refused.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A field with a default value if it is absent or `null`.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// A flag of the query string: `true`, `1`, `yes` and `on`, case-insensitive, and their opposites. A blank one is
/// false.
pub fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(optional_flag(d)?.unwrap_or(false))
}

/// A [`flag`] of the query string that may be absent or blank.
pub fn optional_flag<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    match Cow::<'de, str>::deserialize(d)? {
        blank if blank.is_empty() => Ok(None),
        text => is_true(&text).map(Some).ok_or_else(|| serde::de::Error::custom(NO_BOOLEAN)),
    }
}

const NO_BOOLEAN: &str = "Input should be true or false";

/// The boolean that a text stands for, if any.
fn is_true(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// A [`flag`] of the query string that must be given: a blank one is refused.
pub fn required_flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    optional_flag(d)?.ok_or_else(|| serde::de::Error::custom("Field required"))
}

/// An e-mail address as accounts have it: trimmed, in lower case.
pub fn address<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(Cow::<str>::deserialize(d)?.trim().to_lowercase())
}

/// An [`address`] that may be absent or `null`.
pub fn optional_address<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Cow<str>>::deserialize(d)?.map(|text| text.trim().to_lowercase()))
}
