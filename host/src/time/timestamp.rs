//! Points in time, in microseconds since 1970-01-01 UTC.
//!
//! A time is one integer in memory, in both databases and in comparisons. In JSON it is RFC 3339
//! with milliseconds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A point in time, in microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 time such as `2026-03-01T09:30:00Z`")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// Returns the time that is `micros` microseconds after 1970-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since 1970, the form in which the database stores times.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970, rounded down. Signatures carry these.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Returns this time in the basic form of ISO 8601, in UTC and whole seconds:
    /// `20260301T093000Z`.
    pub fn basic_text(self) -> String {
        let text = self.to_string();
        let seconds = text.split('.').next().unwrap_or_default();
        seconds.chars().filter(|c| !"-:".contains(*c)).chain(['Z']).collect()
    }

    /// Returns this time plus `span`. An overflow returns the last possible time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns this time minus `span`. An overflow returns the first possible time.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns how long after `earlier` this time is, or zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 time with any offset, up to the end of the year 9999.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let time = text.parse::<jiff::Timestamp>().map(|time| Self(time.as_microsecond()));
        time.ok().or_else(|| parse_last_day(text)).ok_or_else(|| InvalidTimestamp(text.to_owned()))
    }

    /// Reads Unix time in seconds or milliseconds, with or without decimals. Returns `None` if the
    /// text is not a number or the time is outside the years 1 to 9999.
    pub fn parse_unix(text: &str) -> Option<Self> {
        /// In seconds, no time of this millennium is that large, so a larger number is in
        /// milliseconds.
        const MILLISECONDS_FROM: u64 = 100_000_000_000;
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        if decimals.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: i64 = whole.parse().ok()?;
        let digits = if number.unsigned_abs() >= MILLISECONDS_FROM { 3 } else { 6 };
        let part: i64 = decimals
            .chars()
            .chain("000000".chars())
            .take(digits)
            .collect::<String>()
            .parse()
            .ok()?;
        let micros = number.checked_mul(10_i64.pow(u32::try_from(digits).ok()?))?;
        let part = if whole.starts_with('-') { -part } else { part };
        let micros = micros.checked_add(part)?;
        (FIRST..=LAST).contains(&micros).then_some(Self(micros))
    }

    /// Reads RFC 3339, or Unix seconds or milliseconds. Returns `None` for other forms, such as a
    /// CRM's local time without a zone, because they do not name a point in time. The event's data
    /// still has them.
    pub fn parse_lenient(text: &str) -> Option<Self> {
        Self::parse_unix(text).or_else(|| Self::parse(text).ok())
    }

    /// Reads a time as clients write it in a query: RFC 3339, even if its `+` was not escaped and
    /// arrived as a space; a date in UTC, with or without a time; or Unix time
    /// ([`Self::parse_unix`]).
    pub fn parse_query(text: &str) -> Result<Self, InvalidTimestamp> {
        let trimmed = text.trim();
        // Unix time goes first, because eight digits are also a date without hyphens.
        if let Some(time) = Self::parse_unix(trimmed) {
            return Ok(time);
        }
        let joined = trimmed.replacen(' ', "T", 1);
        // If there are two spaces, the second one is the `+` of the offset.
        let zone = trimmed
            .rsplit_once(' ')
            .map(|(time, zone)| format!("{}+{zone}", time.replacen(' ', "T", 1)));
        let forms = [
            Some(joined.clone()),
            zone,
            Some(format!("{joined}Z")),
            Some(format!("{joined}T00:00:00Z")),
        ];
        let found = forms.into_iter().flatten().find_map(|form| Self::parse(&form).ok());
        found.ok_or_else(|| InvalidTimestamp(text.to_owned()))
    }
}

/// The first and the last microsecond of the years 1 to 9999.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

/// Reads the last day of the year 9999, which systems use for "never". jiff excludes it from its
/// timestamps so that every timestamp fits every offset.
fn parse_last_day(text: &str) -> Option<Timestamp> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let offset = i64::from(pieces.to_numeric_offset()?.seconds());
    let micros = i64::try_from(civil.duration_since(EPOCH).as_micros()).ok()?;
    let micros = micros - offset * 1_000_000;
    (FIRST..=LAST).contains(&micros).then_some(Timestamp(micros))
}

const EPOCH: jiff::civil::DateTime = jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(time) = jiff::Timestamp::from_microsecond(self.0) {
            return write!(f, "{time:.3}");
        }
        let since = jiff::SignedDuration::from_micros(self.0.clamp(FIRST, LAST));
        let civil = EPOCH.checked_add(since).unwrap_or(jiff::civil::DateTime::MAX);
        write!(f, "{civil:.3}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_with_milliseconds_and_read_with_any_offset() {
        let time = Timestamp::parse("2026-03-01T10:30:00.123456+01:00").unwrap();
        assert_eq!(time.to_string(), "2026-03-01T09:30:00.123Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(time.basic_text(), "20260301T093000Z");
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn the_year_9999_is_read_and_written_to_its_end() {
        for (text, wanted) in [
            ("9999-12-30T22:00:00.000Z", Some("9999-12-30T22:00:00.000Z")),
            ("9999-12-31T23:59:59.999Z", Some("9999-12-31T23:59:59.999Z")),
            ("9999-12-31T23:59:59+02:00", Some("9999-12-31T21:59:59.000Z")),
            ("9999-12-31T23:59:59-02:00", None),
            ("9999-12-31T23:59:59", None),
            ("10000-01-01T00:00:00Z", None),
        ] {
            let read = Timestamp::parse(text).ok().map(|time| time.to_string());
            assert_eq!(read.as_deref(), wanted, "{text}");
        }
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn unix_time_has_decimals() {
        for (text, wanted) in [
            ("1355517523.000005", Some("2012-12-14T20:38:43.000Z")),
            ("1700000000", Some("2023-11-14T22:13:20.000Z")),
            ("1700000000.25", Some("2023-11-14T22:13:20.250Z")),
            ("1700000000250.5", Some("2023-11-14T22:13:20.250Z")),
            ("-0.5", Some("1969-12-31T23:59:59.500Z")),
            ("1.", None),
            (".5", None),
            ("1.5.5", None),
            ("1e9", None),
            ("999999999999999999", None),
        ] {
            let read = Timestamp::parse_unix(text).map(|time| time.to_string());
            assert_eq!(read.as_deref(), wanted, "{text}");
        }
        assert_eq!(Timestamp::parse_unix("9223372036854775.999"), None);
        assert_eq!(Timestamp::parse_unix("1.0000019"), Some(Timestamp(1_000_001)));
    }

    #[test]
    fn the_time_of_a_query_is_read_in_every_spelling() {
        let wanted = Timestamp::parse("2026-04-25T00:00:00Z").unwrap();
        for text in [
            "2026-04-25T00:00:00Z",
            "2026-04-25T00:00:00.000Z",
            "2026-04-25T02:00:00+02:00",
            "2026-04-25T02:00:00 02:00",
            "2026-04-25 02:00:00 02:00",
            "2026-04-24T22:00:00-02:00",
            "2026-04-25T00:00:00",
            "2026-04-25 00:00:00",
            "2026-04-25",
            "1777075200",
            "1777075200.0",
            "1777075200000",
        ] {
            assert_eq!(Timestamp::parse_query(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "yesterday", "2026-04-25T00:00:00 x", "2026-13-01", "12026"] {
            let read = Timestamp::parse_query(text).ok();
            assert_eq!(read, (text == "12026").then_some(Timestamp(12_026_000_000)), "{text}");
        }
    }
}
