//! Times and time zones on the wire.

use jiff::{
    Timestamp, civil,
    fmt::temporal::Pieces,
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// A moment. On the wire ISO 8601 without zone, UTC, with microseconds that are left out when zero
/// (`2026-11-23T03:57:04.282579`); input may carry `Z` or an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

/// The earliest time that the wire format can express: it has four digits for the year.
const FIRST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
/// The latest time that the wire format and a [`Timestamp`] can express: some hours of the year 9999 are beyond it.
const LAST: Timestamp = Timestamp::constant(253_402_207_200, 0);
/// Microseconds from the epoch of [`Timestamp`], 1970, to that of PostgreSQL's `timestamptz`, 2000.
const MICROS_TO_2000: i64 = 946_684_800_000_000;

impl Time {
    /// The wire format and its length, written two digits at a time: a page has hundreds of times, and `write!` would
    /// take longer than the rest of a row.
    pub fn digits(self) -> ([u8; 26], usize) {
        let t = TimeZone::UTC.to_datetime(self.0);
        let mut text = *b"0000-00-00T00:00:00.000000";
        let mut put = |place: usize, number: u32| text[place..place + 2].copy_from_slice(&PAIRS[number as usize % 100]);
        let year = u32::from(t.year().unsigned_abs());
        put(0, year / 100);
        put(2, year);
        put(5, t.month().unsigned_abs().into());
        put(8, t.day().unsigned_abs().into());
        put(11, t.hour().unsigned_abs().into());
        put(14, t.minute().unsigned_abs().into());
        put(17, t.second().unsigned_abs().into());
        let micros = t.subsec_nanosecond().unsigned_abs() / 1000;
        put(20, micros / 10_000);
        put(22, micros / 100);
        put(24, micros);
        (text, if micros == 0 { 19 } else { 26 })
    }
}

/// The numbers from 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, length) = self.digits();
        f.write_str(str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // "Never" is written as the last day of 9999.
        let nearest = |(t, offset): (civil::DateTime, Offset)| offset.to_timestamp(t).unwrap_or(LAST);
        let moment = parts(text).map(nearest).filter(|moment| *moment >= FIRST);
        moment.map(Time).ok_or("a time such as 2026-11-23T03:57:04 is expected")
    }
}

/// The date and time of a text, regardless of its zone.
pub fn as_written(text: &str) -> Option<civil::DateTime> {
    parts(text).map(|(time, _)| time)
}

/// The date and time of a text, and its offset from UTC, zero if it has none. A text with a zone's name needs an offset
/// too (RFC 9557): in some hours a zone has two.
fn parts(text: &str) -> Option<(civil::DateTime, Offset)> {
    let parts = Pieces::parse(text).ok()?;
    let time = parts.date().to_datetime(parts.time().unwrap_or(civil::Time::midnight()));
    let offset = match parts.to_numeric_offset() {
        None if parts.time_zone_annotation().is_some() => return None,
        offset => offset.unwrap_or(Offset::UTC),
    };
    (time.year() > 0).then_some((time, offset))
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (text, length) = self.digits();
        s.serialize_str(str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "ISO 8601 without zone, UTC",
            "examples": ["2026-11-23T03:57:04.282579"],
        })
    }
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        // PostgreSQL has times beyond the wire format, such as infinity: each is shown as the nearest.
        let micros = i64::from_sql(ty, raw)?.saturating_add(MICROS_TO_2000);
        let micros = micros.clamp(FIRST.as_microsecond(), LAST.as_microsecond());
        Ok(Time(Timestamp::from_microsecond(micros)?))
    }
    fn accepts(ty: &Type) -> bool {
        <Timestamp as FromSql>::accepts(ty)
    }
}

impl ToSql for Time {
    fn to_sql(&self, ty: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(ty, out)
    }
    fn accepts(ty: &Type) -> bool {
        <Timestamp as ToSql>::accepts(ty)
    }
    to_sql_checked!();
}

/// A time zone's name in IANA's spelling, found case-insensitively; `None` if it is unknown. The program's own copy of
/// the database is used, because a machine's copy has names that other machines lack, such as `localtime`.
pub fn time_zone(name: &str) -> Option<String> {
    // The time zone of a machine that was never configured.
    const NOWHERE: &str = "Factory";
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    zone.iana_name().filter(|name| *name != NOWHERE && name.len() <= 50).map(str::to_owned)
}
