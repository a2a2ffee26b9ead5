//! Decides whether two values that are written differently are equal.
//!
//! A wider column, another driver or another version of a server writes the same value in another
//! form: `1.5` becomes `1.5000`, `"1"` becomes `1`, `10:00:00` becomes `10:00:00.000000`. A source
//! that compared texts would report every such row as changed. These functions only compare; events
//! carry the values as they were read.

use indexmap::IndexMap;
use serde_json::value::RawValue;

/// Most levels that are compared. Values nested deeper count as different unless their texts are
/// equal.
const DEPTH: usize = 100;

/// A number in normal form: its sign, its digits without leading and trailing zeros, and the power
/// of ten of its last digit.
#[derive(Debug, PartialEq, Eq)]
struct DecimalNumber {
    is_negative: bool,
    digits: String,
    power: i64,
}

impl DecimalNumber {
    fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let kept = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - kept.len()).ok()?;
        let power = i64::from(power) - i64::try_from(fraction.len()).ok()? + dropped;
        let digits = kept.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits, power: 0 });
        }
        Some(Self { is_negative, digits, power })
    }
}

/// Whether both texts are numbers and have the same value.
pub fn is_same_number(one: &str, other: &str) -> bool {
    DecimalNumber::parse(one).is_some_and(|one| DecimalNumber::parse(other).as_ref() == Some(&one))
}

/// Returns the normal form of a number, which is the same text for every spelling. Returns `None`
/// if the text is not a number.
pub fn canonical_number(text: &str) -> Option<String> {
    let DecimalNumber { is_negative, digits, power } = DecimalNumber::parse(text)?;
    let sign = if is_negative { "-" } else { "" };
    Some(format!("{sign}{digits}e{power}"))
}

/// Whether both texts are a date, a time or both, and mean the same. A date alone means its
/// midnight. A moment without an offset is in UTC.
pub fn is_same_moment(one: &str, other: &str) -> bool {
    moment(one).is_some_and(|one| moment(other).as_ref() == Some(&one))
}

/// Whether a text is a date without a year, month or day. MySQL writes such dates for "no date".
pub fn is_zero_date(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    let is_zero = date.starts_with("0000-") || date.contains("-00");
    is_date(date) && is_zero && (rest.is_empty() || rest.starts_with([' ', 'T']))
}

/// Returns the normal form of a moment: `2026-01-02 03:04:05.6`, or only the time. Returns `None`
/// if the text is not a moment.
fn moment(text: &str) -> Option<String> {
    let (date, rest) = match text.split_at_checked(10) {
        Some((date, rest)) if is_date(date) => (date, rest),
        _ => ("", text),
    };
    if date.is_empty() {
        return time(text);
    }
    if rest.is_empty() {
        return Some(format!("{date} 00:00:00."));
    }
    let rest = rest.strip_prefix([' ', 'T'])?;
    let zones = ["Z", "+00:00", "+0000", "+00"];
    let utc = zones.iter().find_map(|zone| rest.strip_suffix(zone)).unwrap_or(rest);
    Some(format!("{date} {}", time(utc)?))
}

/// Returns a time of day or a length of time without trailing zeros in its fraction.
fn time(text: &str) -> Option<String> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = clock.strip_prefix('-').unwrap_or(clock).split(':').collect();
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_part = |part: &&str| part.len() >= 2 && is_digits(part);
    if parts.len() != 3 || !parts.iter().all(is_part) || !is_digits(fraction) {
        return None;
    }
    Some(format!("{clock}.{}", fraction.trim_end_matches('0')))
}

/// Whether the text has the form `2026-01-02`.
fn is_date(text: &str) -> bool {
    let is_right = |(n, byte): (usize, u8)| match n {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.bytes().enumerate().all(is_right)
}

/// How to compare the JSON strings of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextValues {
    /// Strings are only text. The source sends numbers as JSON numbers.
    AreTexts,
    /// A string may also be a number. PHP before 8.1 sends all numbers from a database as strings.
    MayBeNumbers,
}

/// Whether two JSON values are equal. Null, an empty string, a zero date and a missing member are
/// equal to each other.
pub fn is_same_json(one: &str, other: &str, texts: TextValues) -> bool {
    is_same_within(one, other, texts, DEPTH)
}

fn is_same_within(one: &str, other: &str, texts: TextValues, depth: usize) -> bool {
    if one == other {
        return true;
    }
    let (Some(one), Some(other)) = (ShallowJson::parse(one), ShallowJson::parse(other)) else {
        return false;
    };
    match (&one, &other) {
        _ if one.is_nothing() || other.is_nothing() => one.is_nothing() && other.is_nothing(),
        (ShallowJson::Text(one), ShallowJson::Text(other)) => is_same_text(one, other, texts),
        (ShallowJson::Number(one), ShallowJson::Number(other) | ShallowJson::Text(other))
        | (ShallowJson::Text(other), ShallowJson::Number(one)) => is_same_number(one, other),
        (ShallowJson::Boolean(one), ShallowJson::Boolean(other)) => one == other,
        (ShallowJson::Boolean(truth), ShallowJson::Number(text) | ShallowJson::Text(text))
        | (ShallowJson::Number(text) | ShallowJson::Text(text), ShallowJson::Boolean(truth)) => {
            text == if *truth { "1" } else { "0" }
        }
        (ShallowJson::List(one), ShallowJson::List(other)) => {
            depth > 0 && {
                let mut pairs = one.iter().zip(other);
                one.len() == other.len()
                    && pairs.all(|(one, other)| {
                        is_same_within(one.get(), other.get(), texts, depth - 1)
                    })
            }
        }
        (ShallowJson::Object(one), ShallowJson::Object(other)) => {
            depth > 0 && {
                let value = |of: &IndexMap<String, Box<RawValue>>, name: &str| {
                    of.get(name).map_or("null".to_owned(), |value| value.get().to_owned())
                };
                let same =
                    |name| is_same_within(&value(one, name), &value(other, name), texts, depth - 1);
                one.keys().chain(other.keys()).all(|name| same(name))
            }
        }
        _ => false,
    }
}

fn is_same_text(one: &str, other: &str, texts: TextValues) -> bool {
    let is_same_amount = || is_amount(one) && is_amount(other) && is_same_number(one, other);
    one == other
        || is_same_moment(one, other)
        || (texts == TextValues::MayBeNumbers && is_same_amount())
}

/// Whether a text is written as an amount of money may be. A single digit after the point rules
/// that out, because `1.1` and `1.10` may be versions.
fn is_amount(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = whole == "0" || !whole.starts_with('0');
    is_plain && fraction.len() != 1 && !digits.ends_with('.') && !digits.contains(['e', 'E', '+'])
}

/// A JSON value with only its outermost level parsed.
enum ShallowJson {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Box<RawValue>>),
    Object(IndexMap<String, Box<RawValue>>),
}

impl ShallowJson {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.as_bytes().first()? {
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            b'[' => Self::List(serde_json::from_str(text).ok()?),
            b'{' => Self::Object(serde_json::from_str(text).ok()?),
            b't' => Self::Boolean(true),
            b'f' => Self::Boolean(false),
            b'n' => Self::Null,
            _ => Self::Number(text.to_owned()),
        })
    }

    /// Whether the value counts as missing: null, an empty string or a zero date.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty() || is_zero_date(text),
            Self::Boolean(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value_and_to_the_last_digit() {
        for (one, other) in [
            ("1.50", "1.5000"),
            ("1", "1.00"),
            ("-0.0", "0"),
            ("1e2", "100"),
            ("1.5E-1", "0.15"),
            ("007", "7"),
            ("12345678901234567890.10", "12345678901234567890.1"),
        ] {
            assert!(is_same_number(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1.5", "1.51"),
            ("1", "-1"),
            ("10", "1"),
            ("12345678901234567890", "12345678901234567891"),
            ("", "0"),
            ("1.2.3", "1.2.3"),
            ("abc", "abc"),
            ("1e99999999999", "1e99999999999"),
        ] {
            assert!(!is_same_number(one, other), "{one} {other}");
        }
    }

    #[test]
    fn moments_are_compared_without_padding_of_the_column() {
        for (one, other) in [
            ("2026-01-02 03:04:05", "2026-01-02 03:04:05.000000"),
            ("2026-01-02T03:04:05.5", "2026-01-02 03:04:05.500"),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00"),
            ("2026-01-02", "2026-01-02 00:00:00"),
            ("10:00:00", "10:00:00.000"),
            ("-838:59:59", "-838:59:59.0"),
        ] {
            assert!(is_same_moment(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("2026-01-02 03:04:05", "2026-01-02 03:04:05.1"),
            ("2026-01-02", "2026-01-02 00:00:01"),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05+02:00"),
            ("1:2:3", "1:2:3.0"),
            ("x", "x"),
        ] {
            assert!(!is_same_moment(one, other), "{one} {other}");
        }
    }

    #[test]
    fn dates_without_a_year_month_or_day_are_zero_dates() {
        for text in ["0000-00-00", "0000-00-00 00:00:00", "2022-11-00", "2022-00-05 20:59:22"] {
            assert!(is_zero_date(text), "{text}");
        }
        for text in ["2022-11-01", "2022-11-001", "0000-00", "a000-00-00", "2022-10-10 00:00:00"] {
            assert!(!is_zero_date(text), "{text}");
        }
    }

    #[test]
    fn json_is_compared_by_value() {
        use TextValues::{AreTexts, MayBeNumbers};
        for (one, other) in [
            (r#""1""#, "1"),
            (r#""1.00""#, "1.0"),
            ("1.50", "1.5000"),
            ("true", r#""1""#),
            ("0", "false"),
            ("null", r#""""#),
            (r#""0000-00-00""#, "null"),
            (r#"{"a": 1, "b": null}"#, r#"{"a":"1"}"#),
            (r#"[1, "2.00"]"#, r#"["1",2]"#),
            (r#""a\u00e9""#, r#""aé""#),
        ] {
            assert!(is_same_json(one, other, AreTexts), "{one} {other}");
        }
        for (one, other) in [
            (r#""1.10""#, r#""1.1""#),
            (r#""01""#, r#""1""#),
            ("1", "2"),
            ("0", "null"),
            ("[1]", "[1,1]"),
            ("[1]", "1"),
            (r#"{"a": 1}"#, r#"{"a": 2}"#),
            ("true", "2"),
            (r#""a""#, r#""A""#),
            (r#""\ud800""#, r#""x""#),
        ] {
            assert!(!is_same_json(one, other, MayBeNumbers), "{one} {other}");
        }
        assert!(is_same_json(r#""1.50""#, r#""1.5000""#, MayBeNumbers));
        assert!(is_same_json(r#""100""#, r#""100.00""#, MayBeNumbers));
        assert!(!is_same_json(r#""1.50""#, r#""1.5000""#, AreTexts));
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(500), "]".repeat(500));
        assert!(!is_same_json(&deep("1"), &deep("1.0"), AreTexts));
    }
}
