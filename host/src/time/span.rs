//! Lengths of time as people write them: `"30s"`, `"5m"`, `"1h30m"`, `"250ms"`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in whole milliseconds, at most [`TimeSpan::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(Duration);

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// The text does not consist of numbers with units.
    #[error(
        "`{0}` is not a duration; write numbers with units (ms, s, m, h, d), such as `30s`, `5m` or `1h30m`"
    )]
    Form(String),
    /// The length is above [`TimeSpan::MAX`].
    #[error("`{0}` is longer than 365 days, the longest allowed duration")]
    TooLong(String),
}

/// Milliseconds in each unit, the largest first. Days are read but never written (`24h`, not `1d`).
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl TimeSpan {
    /// The longest span: 365 days.
    pub const MAX: Duration = Duration::from_hours(365 * 24);

    /// Makes a span of that length. Only whole milliseconds are written.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// Returns the length.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for TimeSpan {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let form = || InvalidSpan::Form(text.to_owned());
        let mut rest = text;
        let mut millis: u64 = 0;
        let mut largest = UNITS.len();
        while !rest.is_empty() {
            let (number, after) = split_at(rest, |c| !c.is_ascii_digit());
            let (unit, after) = split_at(after, |c| c.is_ascii_digit());
            let place = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(form)?;
            // Each unit must be smaller than the one before it. The first may be any unit.
            if number.is_empty() || (millis_seen(largest) && place <= largest) {
                return Err(form());
            }
            let scale = UNITS.get(place).map_or(0, |(_, scale)| *scale);
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale));
            millis = part
                .and_then(|part| millis.checked_add(part))
                .filter(|&sum| Duration::from_millis(sum) <= Self::MAX)
                .ok_or_else(|| InvalidSpan::TooLong(text.to_owned()))?;
            (largest, rest) = (place, after);
        }
        if millis_seen(largest) { Ok(Self(Duration::from_millis(millis))) } else { Err(form()) }
    }
}

/// Whether a unit has already been read. `UNITS.len()` stands for none.
const fn millis_seen(place: usize) -> bool {
    place < UNITS.len()
}

/// Splits a text before the first character at which `stop` is true.
fn split_at(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(stop).unwrap_or(text.len())).unwrap_or((text, ""))
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in UNITS.iter().skip(1) {
            if rest >= *scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_units() {
        for (text, millis, written) in [
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("250ms", 250, "250ms"),
            ("1s250ms", 1_250, "1s250ms"),
            ("1d", 86_400_000, "24h"),
            ("365d", 31_536_000_000, "8760h"),
            ("0s", 0, "0s"),
            ("0ms", 0, "0s"),
        ] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span.get(), Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), written);
        }
    }

    #[test]
    fn a_text_that_is_not_a_duration_is_refused() {
        for text in ["", "30", "s", "1.5h", "-1s", "5 m", "1m1h", "1s1s", "1w", "h1", "1hh", "½h"]
        {
            assert_eq!(text.parse::<TimeSpan>(), Err(InvalidSpan::Form(text.to_owned())), "{text}");
        }
        for text in ["366d", "99999999999999999999h", "18446744073709551615h"] {
            assert_eq!(
                text.parse::<TimeSpan>(),
                Err(InvalidSpan::TooLong(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn json_is_a_string_of_the_text() {
        let span: TimeSpan = serde_json::from_str(r#""1h30m""#).unwrap();
        assert_eq!(serde_json::to_string(&span).unwrap(), r#""1h30m""#);
        let error = serde_json::from_str::<TimeSpan>(r#""soon""#).unwrap_err().to_string();
        assert!(error.contains("`soon` is not a duration"), "{error}");
    }

    proptest! {
        #[test]
        fn every_span_is_read_back(millis in 0..31_536_000_000_u64) {
            let span = TimeSpan::new(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse::<TimeSpan>().unwrap(), span);
        }
    }
}
