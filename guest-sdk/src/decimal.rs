//! Exact decimal numbers for accounting: quantities, rates, percentages and amounts.
//!
//! [`Cents`] holds an amount as it is stored, with two decimals, and never
//! rounds. A [`Decimal`] multiplies and rounds where the rules of a ledger say so:
//!
//! ```
//! use waybill_guest::decimal::{Decimal, Rounding};
//!
//! let (quantity, rate): (Decimal, Decimal) = ("2.5".parse()?, "19.99".parse()?);
//! let line = quantity.checked_mul(rate).and_then(|exact| exact.round(2, Rounding::HalfUp));
//! assert_eq!(line.map(|line| line.to_string()).as_deref(), Some("49.98")); // from 49.975
//! # Ok::<(), waybill_guest::decimal::NotADecimal>(())
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::field::Cents;

/// Most decimals of a number. Two factors have 24 together, so their product can be rounded.
const MOST_PLACES: u32 = 12;
/// Every number is below this in its last place, so that 12 more decimals fit into 128 bits.
const LARGEST: i128 = 100_000_000_000_000_000_000_000_000;
/// Up to here a JSON number with the shortest digits that mean it is read exactly.
const EXACT: f64 = 1e15;

/// An exact decimal number: up to 26 digits, at most 12 of them after the point.
///
/// It is read from a JSON string or number, and written as a string. [`number`] writes a JSON
/// number instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decimal {
    digits: i128,
    places: u32,
}

/// What happens to a digit that is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rounding {
    /// Half and more rounds away from zero, as commercial rules and most tax rules say.
    HalfUp,
    /// Half rounds to the even digit, so that errors do not add up.
    HalfEven,
    /// The digit is cut off.
    Down,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self { digits: 0, places: 0 };

    /// One.
    pub const ONE: Self = Self { digits: 1, places: 0 };

    /// The number `digits` / 10^`places`; none beyond 26 digits or 12 decimals.
    pub const fn new(digits: i128, places: u32) -> Option<Self> {
        if places > MOST_PLACES || digits <= -LARGEST || digits >= LARGEST {
            return None;
        }
        Some(Self { digits, places })
    }

    /// Whether it is 0.
    pub const fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// Whether it is below 0.
    pub const fn is_negative(self) -> bool {
        self.digits < 0
    }

    /// The sum; none where it is out of range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let places = self.places.max(other.places);
        let sum = self.widened(places)?.checked_add(other.widened(places)?)?;
        Self::new(sum, places)
    }

    /// The difference; none where it is out of range.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self { digits: -other.digits, ..other })
    }

    /// The exact product; none where it is out of range.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let (one, two) = (self.normalized(), other.normalized());
        Self::new(one.digits.checked_mul(two.digits)?, one.places + two.places)
    }

    /// The share of a percentage, such as a tax; none where it is out of range.
    #[must_use]
    pub fn percent(self, percentage: Self) -> Option<Self> {
        let product = self.checked_mul(percentage)?;
        Self::new(product.digits, product.places + 2)
    }

    /// The number with this many decimals; none where it is out of range.
    #[must_use]
    pub fn round(self, places: u32, rounding: Rounding) -> Option<Self> {
        if places >= self.places {
            return Self::new(self.widened(places)?, places);
        }
        let unit = power_of_ten(self.places - places)?;
        let (whole, rest) = (self.digits / unit, self.digits % unit);
        let is_up = match (rounding, (rest.abs() * 2).cmp(&unit)) {
            (Rounding::HalfUp, Ordering::Equal | Ordering::Greater)
            | (Rounding::HalfEven, Ordering::Greater) => true,
            (Rounding::HalfEven, Ordering::Equal) => whole % 2 != 0,
            (Rounding::HalfUp | Rounding::HalfEven, Ordering::Less) | (Rounding::Down, _) => false,
        };
        let step = if is_up { self.digits.signum() } else { 0 };
        Self::new(whole + step, places)
    }

    /// Splits it in proportion to weights. The shares have this many decimals and sum to it
    /// exactly: what rounding leaves over goes to the shares that lost most, one unit each.
    ///
    /// None where the weights sum to nothing, it has more decimals, or a product is out of range.
    #[must_use]
    pub fn split(self, places: u32, weights: &[Self]) -> Option<Vec<Self>> {
        let deepest = weights.iter().map(|weight| weight.places).max()?;
        let widened = weights.iter().map(|weight| weight.widened(deepest));
        let weights = widened.collect::<Option<Vec<i128>>>()?;
        let all = weights.iter().try_fold(0_i128, |sum, weight| sum.checked_add(*weight))?;
        let total = self.normalized().widened(places)?;
        let mut shares = Vec::with_capacity(weights.len());
        for (place, weight) in weights.into_iter().enumerate() {
            let product = total.checked_mul(weight.checked_mul(all.signum())?)?;
            let (whole, rest) =
                (product.checked_div_euclid(all.abs())?, product.checked_rem_euclid(all.abs())?);
            shares.push((place, whole, rest));
        }
        let mut left = total - shares.iter().map(|(_, whole, _)| whole).sum::<i128>();
        shares.sort_by_key(|(place, _, rest)| (std::cmp::Reverse(*rest), *place));
        for (_, whole, _) in &mut shares {
            let more = left.min(1);
            *whole += more;
            left -= more;
        }
        shares.sort_by_key(|(place, ..)| *place);
        shares.into_iter().map(|(_, whole, _)| Self::new(whole, places)).collect()
    }

    /// The same number without zeros at the end of its decimals.
    #[must_use]
    pub fn normalized(self) -> Self {
        let Self { mut digits, mut places } = self;
        while places > 0 && digits % 10 == 0 {
            digits /= 10;
            places -= 1;
        }
        Self { digits, places }
    }

    /// The number in units of this many decimals; none where that does not fit.
    fn widened(self, places: u32) -> Option<i128> {
        self.digits.checked_mul(power_of_ten(places.checked_sub(self.places)?)?)
    }
}

const fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// Compares by value: 1.5 is 1.50.
impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // Cannot fail: see `LARGEST`.
        let places = self.places.max(other.places);
        let widened = |one: &Self| one.widened(places).unwrap_or(one.digits);
        widened(self).cmp(&widened(other))
    }
}

impl From<Cents> for Decimal {
    fn from(amount: Cents) -> Self {
        Self { digits: amount.get().into(), places: 2 }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = power_of_ten(self.places).unwrap_or(1).unsigned_abs();
        let (sign, digits) = (if self.digits < 0 { "-" } else { "" }, self.digits.unsigned_abs());
        let (whole, rest) = (digits / unit, digits % unit);
        match self.places {
            0 => write!(f, "{sign}{whole}"),
            places => write!(f, "{sign}{whole}.{rest:0width$}", width = places as usize),
        }
    }
}

/// The text is no number that [`Decimal`] can hold exactly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotADecimal;

impl fmt::Display for NotADecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a number with at most 26 digits and 12 decimals")
    }
}

impl std::error::Error for NotADecimal {}

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let (unsigned, sign) = match text.strip_prefix('-') {
            Some(rest) => (rest, -1),
            None => (text, 1),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        if whole.is_empty() || fraction.is_empty() {
            return Err(NotADecimal);
        }
        let places = u32::try_from(fraction.len()).ok().ok_or(NotADecimal)?;
        let places = if unsigned.contains('.') { places } else { 0 };
        let fraction = if places == 0 { "" } else { fraction };
        let digits = whole.chars().chain(fraction.chars()).try_fold(0_i128, |sum, digit| {
            sum.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))
        });
        digits.and_then(|digits| Self::new(sign * digits, places)).ok_or(NotADecimal)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecimalVisitor)
    }
}

struct DecimalVisitor;

impl Visitor<'_> for DecimalVisitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number, such as \"2.50\"")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Decimal, E> {
        value.parse().map_err(|NotADecimal| E::invalid_value(de::Unexpected::Str(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Decimal, E> {
        Ok(Decimal { digits: value.into(), places: 0 })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Decimal, E> {
        Ok(Decimal { digits: value.into(), places: 0 })
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Decimal, E> {
        let text = (value.abs() < EXACT).then(|| value.to_string());
        let invalid = || E::invalid_value(de::Unexpected::Float(value), &self);
        text.and_then(|text| text.parse().ok()).ok_or_else(invalid)
    }
}

/// Writes a [`Decimal`] as a JSON number, for receivers that want one:
/// `#[serde(serialize_with = "waybill_guest::decimal::number")]`.
///
/// Fails where a reader of JSON could not get the same number back.
pub fn number<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    let shortest = value.normalized();
    if let (0, Ok(whole)) = (shortest.places, i64::try_from(shortest.digits)) {
        return serializer.serialize_i64(whole);
    }
    let near: f64 = shortest.to_string().parse().map_err(serde::ser::Error::custom)?;
    if near.abs() >= EXACT || near.to_string().parse() != Ok(shortest) {
        let message = format!("{value} has too many digits for a number in JSON");
        return Err(serde::ser::Error::custom(message));
    }
    serializer.serialize_f64(near)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_read_exactly_from_both_forms() {
        for (value, text) in [
            (json!("2.50"), "2.50"),
            (json!("-0.07"), "-0.07"),
            (json!("1250"), "1250"),
            (json!(1250), "1250"),
            (json!(0.1), "0.1"),
            (json!(-2.5), "-2.5"),
            (json!("0.000000000001"), "0.000000000001"),
            (json!("007.10"), "7.10"),
        ] {
            assert_eq!(from_value::<Decimal>(value.clone()).unwrap().to_string(), text, "{value}");
        }
        for value in
            ["", "-", ".", "1.", ".5", "+1", "1,5", "1e3", "--1", "0.0000000000001", "٣", "1.2.3"]
        {
            assert!(value.parse::<Decimal>().is_err(), "{value}");
        }
        assert!(from_value::<Decimal>(json!("1".repeat(27))).is_err());
        assert!(from_value::<Decimal>(json!(null)).is_err());
    }

    #[test]
    fn rounding_goes_as_its_name_says() {
        use Rounding::{Down, HalfEven, HalfUp};
        for (exact, rounding, rounded) in [
            ("49.975", HalfUp, "49.98"),
            ("-49.975", HalfUp, "-49.98"),
            ("49.975", HalfEven, "49.98"),
            ("49.985", HalfEven, "49.98"),
            ("-49.985", HalfEven, "-49.98"),
            ("49.9851", HalfEven, "49.99"),
            ("49.979", Down, "49.97"),
            ("-49.979", Down, "-49.97"),
            ("0.0049", HalfUp, "0.00"),
            ("7", HalfUp, "7.00"),
        ] {
            assert_eq!(decimal(exact).round(2, rounding).unwrap().to_string(), rounded, "{exact}");
        }
    }

    #[test]
    fn arithmetic_is_exact_and_checked() {
        assert_eq!(decimal("2.5").checked_mul(decimal("19.99")), Some(decimal("49.975")));
        assert_eq!(decimal("0.1").checked_add(decimal("0.2")), Some(decimal("0.3")));
        assert_eq!(decimal("1").checked_sub(decimal("1.01")), Some(decimal("-0.01")));
        assert_eq!(decimal("80.00").percent(decimal("24.00")), Some(decimal("19.2")));
        let large = decimal(&"9".repeat(26));
        assert_eq!(large.checked_add(decimal("1")), None);
        assert_eq!(large.checked_mul(large), None);
        assert!(decimal("1.5") == decimal("1.500") && decimal("-1") < decimal("0.5"));
        assert!(large > decimal("0.000000000001"));
        assert_eq!(Decimal::from(Cents::new(-125)), decimal("-1.25"));
    }

    #[test]
    fn shares_sum_to_the_amount() {
        for (amount, weights, shares) in [
            ("10.00", vec!["1", "1", "1"], vec!["3.34", "3.33", "3.33"]),
            ("0.05", vec!["360.00", "40"], vec!["0.05", "0.00"]),
            ("-10.00", vec!["1", "1", "1"], vec!["-3.33", "-3.33", "-3.34"]),
            ("1.00", vec!["3", "-1"], vec!["1.50", "-0.50"]),
            ("1.00", vec!["-3", "1"], vec!["1.50", "-0.50"]),
            ("0.00", vec!["0.5", "0.25"], vec!["0.00", "0.00"]),
            ("0.02", vec!["0", "1", "1"], vec!["0.00", "0.01", "0.01"]),
        ] {
            let weights: Vec<Decimal> = weights.into_iter().map(decimal).collect();
            let split = decimal(amount).split(2, &weights).unwrap();
            let told: Vec<String> = split.iter().map(ToString::to_string).collect();
            assert_eq!(told, shares, "{amount}");
            let sum = split.into_iter().try_fold(Decimal::ZERO, Decimal::checked_add);
            assert_eq!(sum, Some(decimal(amount)), "{told:?}");
        }
        assert_eq!(decimal("1").split(2, &[Decimal::ZERO]), None);
        assert_eq!(decimal("1").split(2, &[]), None);
        assert_eq!(decimal("1.001").split(2, &[decimal("1")]), None);
    }

    #[test]
    fn a_number_in_json_is_the_same_number() {
        #[derive(Serialize)]
        struct Line(#[serde(serialize_with = "number")] Decimal);
        let written = |text: &str| serde_json::to_value(Line(decimal(text)));
        assert_eq!(written("12.50").unwrap(), json!(12.5));
        assert_eq!(written("-3.00").unwrap(), json!(-3));
        assert_eq!(written("0.07").unwrap().to_string(), "0.07");
        assert!(written("123456789012345678.25").is_err());
        let text: Value = json!(decimal("12.50"));
        assert_eq!(text, "12.50");
    }
}
