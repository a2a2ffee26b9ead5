//! Compares fields of records, whose scalars are mostly texts.

use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A comparison of a field with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldCondition {
    pub field: String,
    pub test: FieldTest,
    pub value: String,
}

/// The kinds of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldTest {
    Is,
    IsNot,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl FieldTest {
    /// Returns the comparison for a word such as `gte`.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Is,
            "ne" => Self::IsNot,
            "gt" => Self::Above,
            "gte" => Self::AtLeast,
            "lt" => Self::Below,
            "lte" => Self::AtMost,
            _ => return None,
        })
    }

    fn fits(self, ordering: Ordering) -> bool {
        match self {
            Self::Is => ordering.is_eq(),
            Self::IsNot => ordering.is_ne(),
            Self::Above => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Below => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
        }
    }
}

impl FieldCondition {
    /// Returns whether a record meets all conditions.
    pub fn all(conditions: &[Self], record: &Map<String, Value>) -> bool {
        conditions.iter().all(|condition| condition.fits(record))
    }

    /// Tests a record. A field that is missing or null only meets "not equal".
    fn fits(&self, record: &Map<String, Value>) -> bool {
        match record.get(&self.field).and_then(text) {
            Some(text) => self.test.fits(compare_with_value(&text, &self.value)),
            None => self.test == FieldTest::IsNot,
        }
    }
}

/// Returns a scalar as a text.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(digits(number))),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "1" } else { "0" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the digits of a number. `serde_json` writes very large and very small numbers with an
/// exponent, which would count as texts.
fn digits(number: &Number) -> String {
    let text = number.to_string();
    let value = number.as_f64().filter(|_| text.contains('e'));
    value.map_or(text, |value| value.to_string())
}

/// Compares as numbers if both are numbers, to the last digit, and otherwise as texts: a `date` is
/// compared with `2026`, and an id of 16 digits has neighbours with the same `f64`.
fn compare_with_value(field: &str, value: &str) -> Ordering {
    match (PlainDecimal::parse(field), PlainDecimal::parse(value)) {
        (Some(field), Some(value)) => field.cmp(&value),
        (_, _) => field.cmp(value),
    }
}

/// A number that consists only of digits, a point and a minus sign. Texts such as `12e3` and
/// `01234` are codes rather than amounts, and count as texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlainDecimal<'t> {
    is_negative: bool,
    whole: &'t str,
    /// Without trailing zeros.
    fraction: &'t str,
}

impl<'t> PlainDecimal<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
            None => (digits, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_led_by_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || is_led_by_zero || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let is_zero = whole == "0" && fraction.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, whole, fraction })
    }

    /// Returns the number without its sign. Texts with the same number of digits before the point
    /// compare in the order of their numbers.
    const fn magnitude(self) -> (usize, &'t str, &'t str) {
        (self.whole.len(), self.whole, self.fraction)
    }
}

impl Ord for PlainDecimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&self.magnitude()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for PlainDecimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Orders numbers before texts. If a number and a text were compared as texts, `2` < `10` < `1a` <
/// `2` would be a circle, and `sort_by` panics on such an order.
fn compare_in_list(a: &str, b: &str) -> Ordering {
    match (PlainDecimal::parse(a), PlainDecimal::parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Compares two records by fields, each ascending or descending. Records without a field come last.
pub fn compare_by(
    fields: &[(String, bool)],
    a: &Map<String, Value>,
    b: &Map<String, Value>,
) -> Ordering {
    let by = |compare: fn(&str, &str) -> Ordering| {
        let by_field = move |(field, descends): &(String, bool)| match (
            a.get(field).and_then(text),
            b.get(field).and_then(text),
        ) {
            (Some(a), Some(b)) if *descends => compare(&b, &a),
            (Some(a), Some(b)) => compare(&a, &b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        fields.iter().map(by_field).find(|ordering| ordering.is_ne())
    };
    // `5` and `5.00` are the same number, so the next field decides before their texts do.
    by(compare_in_list).or_else(|| by(compare_texts)).unwrap_or(Ordering::Equal)
}

fn compare_texts(a: &str, b: &str) -> Ordering {
    a.cmp(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    fn record(zip: &str) -> Map<String, Value> {
        Map::from_iter([("zip".to_owned(), Value::from(zip))])
    }

    fn compare(a: &str, b: &str) -> Ordering {
        compare_by(&[("zip".to_owned(), false)], &record(a), &record(b))
    }

    fn random_postcode(random: &mut StdRng) -> String {
        let number = random.random_range(0..20_000_u32);
        match random.random_range(0..6_u32) {
            0 => number.to_string(),
            1 => format!("{number:06}"),
            2 => format!("{number}a"),
            3 => format!("{}e{}", number % 100, number % 7),
            4 => format!("-{}.{}", number % 100, number % 10),
            _ => format!("SW{} {}", number % 100, number % 10),
        }
    }

    #[test]
    fn postcodes_have_a_total_order() {
        for (less, greater) in [("2", "10"), ("10", "1a"), ("2", "1a"), ("-1", "0"), ("9", "01")] {
            assert_eq!(compare(less, greater), Ordering::Less, "{less} {greater}");
            assert_eq!(compare(greater, less), Ordering::Greater, "{less} {greater}");
        }
        let mut random = StdRng::seed_from_u64(7);
        let mut postcodes: Vec<String> = (0..5_000).map(|_| random_postcode(&mut random)).collect();
        postcodes.sort_by(|a, b| compare(a, b));
        for (place, one) in postcodes.iter().enumerate().step_by(50) {
            let later = &postcodes[place..];
            assert!(later.iter().all(|other| compare(one, other).is_le()), "{one} at {place}");
        }
    }

    /// Returns whether a record with this field meets the condition.
    fn fits(field: impl Into<Value>, test: FieldTest, value: &str) -> bool {
        let record = Map::from_iter([("field".to_owned(), field.into())]);
        FieldCondition { field: "field".to_owned(), test, value: value.to_owned() }.fits(&record)
    }

    #[test]
    fn equal_are_equal_texts_and_numbers_of_one_value() {
        use FieldTest::{Is, IsNot};
        for (field, value) in
            [("1000.00", "1000"), ("-0.0", "0"), ("0.50", "0.5"), ("01234", "01234"), ("x", "x")]
        {
            assert!(fits(field, Is, value) && !fits(field, IsNot, value), "{field} {value}");
        }
        for (field, value) in [
            ("9007199254740992", "9007199254740993"),
            ("1234", "01234"),
            ("12000", "12e3"),
            ("1", "+1"),
            ("1", "1."),
            ("5", "-5"),
            ("inf", "infinity"),
            ("0.1", "0.10000000000000000001"),
        ] {
            assert!(!fits(field, Is, value) && fits(field, IsNot, value), "{field} {value}");
        }
        assert!(fits(9_007_199_254_740_993_u64, Is, "9007199254740993"));
        assert!(!fits(9_007_199_254_740_993_u64, Is, "9007199254740992"));
        assert!(fits(1e21, Is, "1000000000000000000000") && fits(true, Is, "1"));
    }

    #[test]
    fn numbers_are_ordered_to_the_last_digit_and_others_as_texts() {
        use FieldTest::{Above, AtLeast, AtMost, Below};
        assert!(fits("9007199254740993", Above, "9007199254740992"));
        assert!(fits("10", Above, "9") && fits("-10", Below, "-9.5") && fits("0.05", Below, "0.5"));
        assert!(fits("5.00", AtLeast, "5") && fits("5.00", AtMost, "5"));
        assert!(fits("2026-01-02", Below, "2027") && fits("2026-01-02", Above, "2026"));
        assert!(fits("01234", Below, "9"), "a code is a text");
    }

    #[test]
    fn the_next_field_decides_between_equal_numbers() {
        let record = |total: &str, id: u32| {
            Map::from_iter([
                ("total".to_owned(), Value::from(total)),
                ("id".to_owned(), Value::from(id)),
            ])
        };
        let fields = [("total".to_owned(), false), ("id".to_owned(), true)];
        let order = compare_by(&fields, &record("5.00", 1), &record("5", 2));
        assert_eq!(order, Ordering::Greater);
        let order = compare_by(&fields, &record("5.00", 1), &record("5", 1));
        assert_eq!(order, Ordering::Greater);
    }
}
