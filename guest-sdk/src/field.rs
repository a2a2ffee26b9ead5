//! Field types for records that give the same column now as a string, now as a number.
//!
//! Perfex CRM's REST modules return every column as a string (`"id": "28"`, `"total": "5.00"`),
//! other ways out of the same database as numbers. These types take both.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A record's id: from a string or an integer, written as a string.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names no record: the CRM stores 0 for "none".
    pub fn is_none(&self) -> bool {
        matches!(self.0.as_str(), "" | "0")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id as a string or an integer")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Id, E> {
        Ok(Id(value.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Id, E> {
        Ok(Id(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Id, E> {
        Ok(Id(value.to_string()))
    }
}

/// An amount in hundredths, exact: from `"1250.00"`, `1250` or `1250.5`, written as `"1250.00"`.
///
/// More than two decimals are refused unless they are zeros, so nothing is ever rounded.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cents(i64);

impl Cents {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount in hundredths.
    pub const fn new(hundredths: i64) -> Self {
        Self(hundredths)
    }

    /// The amount in hundredths.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum; none where it is out of range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; none where it is out of range.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let hundredths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// The text is no amount that [`Cents`] can hold exactly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotAnAmount;

impl fmt::Display for NotAnAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an amount with at most two decimals")
    }
}

impl std::error::Error for NotAnAmount {}

impl FromStr for Cents {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (digits, negative) = match text.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "00"));
        let amount = unsigned_hundredths(whole, fraction).ok_or(NotAnAmount)?;
        Ok(Self(if negative { -amount } else { amount }))
    }
}

fn unsigned_hundredths(whole: &str, fraction: &str) -> Option<i64> {
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    let significant = fraction.trim_end_matches('0');
    if significant.len() > 2 {
        return None;
    }
    let padding = std::iter::repeat_n('0', 2 - significant.len());
    whole.chars().chain(significant.chars()).chain(padding).try_fold(0_i64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(i64::from(digit.to_digit(10)?))
    })
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CentsVisitor)
    }
}

struct CentsVisitor;

/// Up to here a number with two decimals has at most 15 significant digits, which a double gives
/// back exactly.
const EXACT: f64 = 1e13;

impl Visitor<'_> for CentsVisitor {
    type Value = Cents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount with at most two decimals, such as \"1250.00\"")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Cents, E> {
        value.parse().map_err(|NotAnAmount| E::invalid_value(de::Unexpected::Str(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Cents, E> {
        let hundredths = value.checked_mul(100).map(Cents);
        hundredths.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cents, E> {
        let hundredths = i64::try_from(value).ok().and_then(|value| value.checked_mul(100));
        let invalid = || E::invalid_value(de::Unexpected::Unsigned(value), &self);
        hundredths.map(Cents).ok_or_else(invalid)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Cents, E> {
        let text = (value.abs() < EXACT).then(|| value.to_string());
        let invalid = || E::invalid_value(de::Unexpected::Float(value), &self);
        text.and_then(|text| text.parse().ok()).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn id_is_taken_from_both_forms() {
        for value in [json!("28"), json!(28)] {
            assert_eq!(from_value::<Id>(value).unwrap().as_str(), "28");
        }
        assert_eq!(from_value::<Id>(json!(-1)).unwrap().to_string(), "-1");
        assert_eq!(json!(from_value::<Id>(json!(28)).unwrap()), json!("28"));
        for value in [json!(2.5), json!(true), json!(null)] {
            let error = from_value::<Id>(value).unwrap_err().to_string();
            assert!(error.contains("an id as a string or an integer"), "{error}");
        }
    }

    #[test]
    fn zero_id_names_no_record() {
        for (value, none) in [(json!(0), true), (json!("0"), true), (json!(""), true)] {
            assert_eq!(from_value::<Id>(value).unwrap().is_none(), none);
        }
        assert!(!from_value::<Id>(json!("10")).unwrap().is_none());
    }

    fn cents(value: Value) -> Option<i64> {
        from_value::<Cents>(value).ok().map(Cents::get)
    }

    #[test]
    fn amount_is_taken_exactly_from_both_forms() {
        for (value, expected) in [
            (json!("1250.00"), 125_000),
            (json!("1250"), 125_000),
            (json!("1250.5"), 125_050),
            (json!("0.07"), 7),
            (json!("-3.10"), -310),
            (json!("1.2300"), 123),
            (json!("9999999999999.99"), 999_999_999_999_999),
            (json!(1250), 125_000),
            (json!(-3), -300),
            (json!(1250.1), 125_010),
            (json!(0.29), 29),
            (json!(1_999_999_999_999.99), 199_999_999_999_999),
        ] {
            assert_eq!(cents(value.clone()), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_exact_amount_is_refused() {
        for value in [
            json!(""),
            json!("-"),
            json!("."),
            json!("1."),
            json!(".5"),
            json!("+1"),
            json!("1,250.00"),
            json!("1.005"),
            json!("1e3"),
            json!("--1"),
            json!("99999999999999999999"),
            json!(0.125),
            json!(1e15 + 0.5),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(null),
        ] {
            assert_eq!(cents(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn amount_is_written_with_two_decimals() {
        for (hundredths, text) in
            [(0, "0.00"), (7, "0.07"), (-7, "-0.07"), (125_050, "1250.50"), (-310, "-3.10")]
        {
            assert_eq!(json!(Cents::new(hundredths)), json!(text));
            assert_eq!(text.parse(), Ok(Cents::new(hundredths)));
        }
    }

    #[test]
    fn sums_are_checked() {
        assert_eq!(Cents::new(1).checked_add(Cents::new(2)), Some(Cents::new(3)));
        assert_eq!(Cents::new(1).checked_sub(Cents::new(2)), Some(Cents::new(-1)));
        assert_eq!(Cents::new(i64::MAX).checked_add(Cents::new(1)), None);
        assert_eq!(Cents::new(i64::MIN).checked_sub(Cents::new(1)), None);
    }
}
