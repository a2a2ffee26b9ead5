//! Times as APIs of CRMs write them.

use crate::time::timestamp::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::Value;

/// Unix times above this number are in milliseconds.
const MILLIS: i64 = 100_000_000_000;

/// Parses a time: RFC 3339, a date with or without a time in `zone`, or Unix seconds or
/// milliseconds.
pub fn read_moment(value: &Value, zone: &TimeZone) -> Option<Timestamp> {
    match value {
        Value::Number(number) => unix(number.as_i64()?),
        Value::String(text) => read_text(text.trim(), zone),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_text(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return unix(text.parse().ok()?);
    }
    if let Ok(time) = Timestamp::parse(text) {
        return Some(time);
    }
    let civil = text.parse::<DateTime>().ok();
    let civil = civil.or_else(|| text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)))?;
    let instant = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

fn unix(number: i64) -> Option<Timestamp> {
    let micros =
        if number > MILLIS { number.checked_mul(1_000) } else { number.checked_mul(1_000_000) };
    micros.filter(|_| number > 0).map(Timestamp::from_micros)
}

/// Writes a time as RFC 3339 with the zone's offset. So the local time is right even for an API
/// that ignores the offset.
pub fn iso(at: Timestamp, zone: &TimeZone) -> String {
    let instant = jiff::Timestamp::from_second(at.seconds()).unwrap_or_default();
    let offset = zone.to_offset(instant);
    if offset.is_zero() {
        instant.to_string()
    } else {
        instant.display_with_offset(offset).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_is_read() {
        let athens = TimeZone::get("Europe/Athens").unwrap();
        let expected = Timestamp::parse("2026-05-20T11:30:00Z").unwrap();
        for value in [
            json!("2026-05-20T11:30:00Z"),
            json!("2026-05-20T13:30:00+02:00"),
            json!("2026-05-20 14:30:00"),
            json!("2026-05-20T14:30:00"),
            json!(1_779_276_600),
            json!("1779276600"),
            json!(1_779_276_600_000_i64),
        ] {
            assert_eq!(read_moment(&value, &athens), Some(expected), "{value}");
        }
        let midnight = Timestamp::parse("2026-05-19T21:00:00Z").unwrap();
        assert_eq!(read_moment(&json!("2026-05-20"), &athens), Some(midnight));
        for value in
            [json!("0000-00-00 00:00:00"), json!("soon"), json!(null), json!(""), json!("2026")]
        {
            assert_eq!(read_moment(&value, &athens), None, "{value}");
        }
    }

    #[test]
    fn since_is_right_with_and_without_its_offset() {
        let at = Timestamp::parse("2026-05-20T11:30:00Z").unwrap();
        assert_eq!(iso(at, &TimeZone::get("Europe/Athens").unwrap()), "2026-05-20T14:30:00+03:00");
        assert_eq!(iso(at, &TimeZone::UTC), "2026-05-20T11:30:00Z");
    }
}
