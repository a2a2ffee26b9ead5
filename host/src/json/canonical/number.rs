//! Reads a JSON number and writes it as JavaScript prints it.

/// The largest integer up to which JavaScript represents every integer exactly: 2^53 - 1
/// (`Number.MAX_SAFE_INTEGER`).
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Most significant digits with which every decimal survives the conversion to an IEEE double and
/// back (`DBL_DIG`).
const SAFE_DIGITS: usize = 15;

/// A number split into the parts of its text: `-` `int` `.` `frac` `e` `exp`.
#[derive(Debug, Clone, Copy)]
pub struct NumberToken<'a> {
    text: &'a [u8],
    negative: bool,
    int: &'a [u8],
    frac: &'a [u8],
    exp: &'a [u8],
}

impl<'a> NumberToken<'a> {
    /// Reads the number at the start of `src` (RFC 8259, section 6). Returns `None` if there is
    /// none.
    pub fn read(src: &'a [u8]) -> Option<Self> {
        let (negative, rest) = src.strip_prefix(b"-").map_or((false, src), |rest| (true, rest));
        let (int, rest) = digits(rest);
        let leading_zero = matches!(int, [b'0', _, ..]);
        if int.is_empty() || leading_zero {
            return None;
        }
        let (frac, rest) = match rest.strip_prefix(b".") {
            Some(rest) => required(digits(rest))?,
            None => (&[][..], rest),
        };
        let (exp, rest) = match rest {
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => (&[][..], rest),
        };
        let text = src.get(..src.len() - rest.len())?;
        Some(Self { text, negative, int, frac, exp })
    }

    /// Returns the length of the number's text in bytes.
    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// Whether the number is an integer that JavaScript prints unchanged.
    pub fn is_plain(&self) -> bool {
        self.text.len() == self.int.len() + usize::from(self.negative)
            && self.int.len() <= SAFE_DIGITS
            && !(self.negative && self.int == b"0")
    }

    /// Appends the canonical form: the number, or a string of its text if JavaScript cannot hold
    /// it.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.is_short_decimal() {
            self.write_trimmed(out);
            return;
        }
        if let Some(printed) = self.printed() {
            out.extend_from_slice(printed.as_bytes());
        } else {
            out.push(b'"');
            out.extend_from_slice(self.text);
            out.push(b'"');
        }
    }

    /// Whether JavaScript prints the number unchanged except for trailing zeros. That holds for
    /// numbers without an exponent, with few digits, and not so small (below 1e-6) that JavaScript
    /// prints an exponent.
    fn is_short_decimal(&self) -> bool {
        self.exp.is_empty()
            && self.int.len() + self.frac.len() <= SAFE_DIGITS
            && (self.int != b"0" || self.frac.iter().take(6).any(|&digit| digit != b'0'))
    }

    fn write_trimmed(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        out.extend_from_slice(self.int);
        let frac = without_trailing_zeros(self.frac);
        if !frac.is_empty() {
            out.push(b'.');
            out.extend_from_slice(frac);
        }
    }

    /// Returns what JavaScript prints after parsing the number, or `None` if that has another
    /// value.
    fn printed(&self) -> Option<String> {
        let significant = self.significant();
        if significant.digits.is_empty() {
            return Some("0".to_owned());
        }
        let double: f64 = str::from_utf8(self.text).ok()?.parse().ok()?;
        if !double.is_finite() || double == 0.0 {
            return None;
        }
        let shortest = SignificantDigits::shortest(double.abs())?;
        if shortest.digits != significant.digits
            || Some(shortest.point) != significant.point(self.exp)
        {
            return None;
        }
        let unsafe_integer = shortest.is_integer_text() && double.abs() > MAX_SAFE_INTEGER;
        (!unsafe_integer).then(|| shortest.layout(self.negative))
    }

    /// Returns the digits without leading and trailing zeros. The exponent is not applied yet.
    fn significant(&self) -> SignificantDigits {
        let all: Vec<u8> = [self.int, self.frac].concat();
        let zeros = all.iter().take_while(|&&digit| digit == b'0').count();
        let digits = without_trailing_zeros(all.get(zeros..).unwrap_or_default()).to_vec();
        let point = i64::try_from(self.int.len()).unwrap_or(i64::MAX)
            - i64::try_from(zeros).unwrap_or(i64::MAX);
        SignificantDigits { digits, point }
    }
}

/// The value `0.DIGITS × 10^point`. The digits neither begin nor end with a zero.
struct SignificantDigits {
    digits: Vec<u8>,
    point: i64,
}

impl SignificantDigits {
    /// Returns the fewest digits from which the double can be read back. ECMA-262, 6.1.6.1.20,
    /// requires these, and `{:e}` prints them.
    fn shortest(double: f64) -> Option<Self> {
        let text = format!("{double:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        Some(Self { digits, point: exponent.parse::<i64>().ok()? + 1 })
    }

    fn point(&self, exponent: &[u8]) -> Option<i64> {
        if exponent.is_empty() {
            return Some(self.point);
        }
        str::from_utf8(exponent).ok()?.parse::<i64>().ok()?.checked_add(self.point)
    }

    fn length(&self) -> i64 {
        i64::try_from(self.digits.len()).unwrap_or(i64::MAX)
    }

    fn is_integer_text(&self) -> bool {
        self.length() <= self.point && self.point <= 21
    }

    /// Formats the value by steps 6 to 10 of `Number::toString` for radix 10. `point` is the
    /// specification's n, the number of digits its k.
    fn layout(&self, negative: bool) -> String {
        let mut text = String::with_capacity(24);
        if negative {
            text.push('-');
        }
        let digits = str::from_utf8(&self.digits).unwrap_or_default();
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        match self.point {
            _ if self.is_integer_text() => {
                text.push_str(digits);
                text.push_str(&zeros(self.point - self.length()));
            }
            1..=21 => push_split(&mut text, digits, self.point),
            -5..=0 => {
                text.push_str("0.");
                text.push_str(&zeros(-self.point));
                text.push_str(digits);
            }
            point => {
                push_split(&mut text, digits, 1);
                let sign = if point > 0 { "+" } else { "" };
                text.push('e');
                text.push_str(sign);
                text.push_str(&(point - 1).to_string());
            }
        }
        text
    }
}

/// Appends `digits` with a point after the first `whole` of them. Omits the point if no digits
/// follow.
fn push_split(text: &mut String, digits: &str, whole: i64) {
    let (int, frac) =
        digits.split_at_checked(usize::try_from(whole).unwrap_or_default()).unwrap_or((digits, ""));
    text.push_str(int);
    if !frac.is_empty() {
        text.push('.');
        text.push_str(frac);
    }
}

fn digits(src: &[u8]) -> (&[u8], &[u8]) {
    let length = src.iter().take_while(|byte| byte.is_ascii_digit()).count();
    src.split_at_checked(length).unwrap_or((src, &[]))
}

fn required<'a>((digits, rest): (&'a [u8], &'a [u8])) -> Option<(&'a [u8], &'a [u8])> {
    (!digits.is_empty()).then_some((digits, rest))
}

/// Reads the exponent after the `e`. The first part of the result always parses as an integer.
fn exponent(src: &[u8]) -> Option<(&[u8], &[u8])> {
    let unsigned = src.strip_prefix(b"+").or_else(|| src.strip_prefix(b"-")).unwrap_or(src);
    let (_, rest) = required(digits(unsigned))?;
    Some((src.get(..src.len() - rest.len())?, rest))
}

fn without_trailing_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    digits.get(..digits.len() - zeros).unwrap_or_default()
}
