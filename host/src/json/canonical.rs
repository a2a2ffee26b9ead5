//! Rewrites JSON as JavaScript would print it.
//!
//! Some receivers verify a signature over `JSON.stringify(JSON.parse(body))` instead of the raw
//! body (the vendor's own n8n node does). Such a signature only matches if that round trip returns
//! exactly our bytes. [`write_canonical()`] turns any valid JSON text into one that survives the
//! round trip, in one pass and without building a tree:
//!
//! - no white space between tokens;
//! - numbers as ECMA-262 `Number::toString` prints them. A number that JavaScript cannot hold
//!   exactly (an integer beyond 2^53 - 1, or a decimal that an IEEE double changes) becomes a
//!   string of its original digits;
//! - strings escaped as ECMA-262 `QuoteJSONString` escapes them: only `"`, `\`, control characters
//!   and lone surrogates;
//! - keys that are array indices (`"0"` to `"4294967294"`) first and in ascending order, as in
//!   `OrdinaryOwnPropertyKeys`;
//! - duplicate keys merged: the member stays at the place of the first key and takes the last
//!   value.
//!
//! Bytes that need no change are copied in runs, so compact input costs little more than one scan.
//! Text that is not JSON is an error, never a panic. This module and `serde_json` accept the same
//! texts, apart from the nesting depth.

pub mod number;
pub mod object;

use object::CanonicalField;
use thiserror::Error;

/// Most levels of nested arrays and objects. `serde_json` has the same limit; it keeps the
/// recursion from overflowing the stack.
pub const MAX_DEPTH: usize = 128;

/// Why a text could not be rewritten. Only the sender can correct it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CanonicalError {
    /// Arrays and objects are nested more than [`MAX_DEPTH`] levels deep.
    #[error("at byte {at} the JSON is nested more than {MAX_DEPTH} levels deep; flatten it")]
    TooDeep {
        /// Offset in bytes from the start of the text.
        at: usize,
    },
    /// The text is not JSON.
    #[error("at byte {at} the text is not valid JSON")]
    Invalid {
        /// Offset in bytes from the start of the text.
        at: usize,
    },
}

/// Appends `json` to `out` in a form that JavaScript's parse and stringify leave unchanged.
///
/// After an error, `out` is as it was before the call.
pub fn write_canonical(json: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let before = out.len();
    out.reserve(json.len());
    let mut writer =
        CanonicalWriter { src: json.as_bytes(), at: 0, run: 0, out, fields: Vec::new() };
    let result = writer.document();
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Appends `text` to `out` as a JSON string, quotes included, escaped as JavaScript escapes it.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    while let Some(plain) = bytes.get(done..) {
        let length = plain_length(plain);
        out.extend_from_slice(plain.get(..length).unwrap_or_default());
        let Some(&special) = plain.get(length) else { break };
        write_code_point(u32::from(special), out);
        done += length + 1;
    }
    out.push(b'"');
}

struct CanonicalWriter<'a> {
    src: &'a [u8],
    /// Index of the next byte to examine.
    at: usize,
    /// Index of the first byte that was examined but not yet copied. The bytes from here to `at`
    /// need no change.
    run: usize,
    out: &'a mut Vec<u8>,
    /// Fields of all objects that are still open, innermost object last.
    fields: Vec<CanonicalField>,
}

impl CanonicalWriter<'_> {
    fn document(&mut self) -> Result<(), CanonicalError> {
        self.skip_space();
        self.value(0)?;
        self.skip_space();
        if self.at < self.src.len() {
            return Err(self.invalid());
        }
        self.flush();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), CanonicalError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.invalid()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), CanonicalError> {
        self.check_depth(depth)?;
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_space();
            self.value(depth + 1)?;
            self.skip_space();
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), CanonicalError> {
        self.check_depth(depth)?;
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Ok(());
        }
        let first = self.fields.len();
        loop {
            self.skip_space();
            self.field(depth)?;
            self.skip_space();
            if self.peek() == Some(b'}') {
                break;
            }
            self.expect(b',')?;
        }
        self.order_fields(first);
        self.at += 1;
        Ok(())
    }

    fn field(&mut self, depth: usize) -> Result<(), CanonicalError> {
        let start = self.position();
        if self.peek() != Some(b'"') {
            return Err(self.invalid());
        }
        self.string()?;
        let key_end = self.position();
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        self.value(depth + 1)?;
        self.fields.push(CanonicalField { start, key_end, end: self.position() });
        Ok(())
    }

    /// Sorts the fields of the object that ends here into JavaScript's order.
    fn order_fields(&mut self, first: usize) {
        if self.fields.len() - first > 1 {
            self.flush();
            object::order(self.fields.get(first..).unwrap_or_default(), self.out);
        }
        self.fields.truncate(first);
    }

    fn string(&mut self) -> Result<(), CanonicalError> {
        self.at += 1;
        loop {
            self.at += plain_length(self.src.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.invalid()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), CanonicalError> {
        match self.src.get(self.at + 1) {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'/') => {
                self.flush();
                self.at += 1;
                self.run = self.at;
                self.at += 1;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => Err(self.invalid()),
        }
    }

    fn unicode_escape(&mut self) -> Result<(), CanonicalError> {
        self.flush();
        let mut code = self.code_unit()?;
        if (0xd800..0xdc00).contains(&code) && self.at_low_surrogate() {
            code = 0x10000 + ((code - 0xd800) << 10) + (self.code_unit()? - 0xdc00);
        }
        write_code_point(code, self.out);
        self.run = self.at;
        Ok(())
    }

    /// Reads the escape `\uXXXX` that begins at the current byte.
    fn code_unit(&mut self) -> Result<u32, CanonicalError> {
        let digits = self.src.get(self.at + 2..self.at + 6).ok_or_else(|| self.invalid())?;
        let code = digits.iter().try_fold(0, |code, &digit| {
            char::from(digit).to_digit(16).map(|value| code * 16 + value)
        });
        let code = code.ok_or_else(|| self.invalid())?;
        self.at += 6;
        Ok(code)
    }

    fn at_low_surrogate(&self) -> bool {
        matches!(
            self.src.get(self.at..self.at + 4),
            Some([b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F'])
        )
    }

    fn number(&mut self) -> Result<(), CanonicalError> {
        let rest = self.src.get(self.at..).unwrap_or_default();
        let token = number::NumberToken::read(rest).ok_or_else(|| self.invalid())?;
        let end = self.at + token.length();
        if !token.is_plain() {
            self.flush();
            token.write(self.out);
            self.run = end;
        }
        self.at = end;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), CanonicalError> {
        let end = self.at + word.len();
        if self.src.get(self.at..end) != Some(word) {
            return Err(self.invalid());
        }
        self.at = end;
        Ok(())
    }

    fn skip_space(&mut self) {
        if !matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            return;
        }
        self.flush();
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.run = self.at;
    }

    /// Copies the examined bytes that need no change to the output.
    fn flush(&mut self) {
        self.out.extend_from_slice(self.src.get(self.run..self.at).unwrap_or_default());
        self.run = self.at;
    }

    /// Returns the offset in `out` at which the next byte will be written.
    fn position(&self) -> usize {
        self.out.len() + (self.at - self.run)
    }

    fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), CanonicalError> {
        if self.take(byte) { Ok(()) } else { Err(self.invalid()) }
    }

    fn check_depth(&self, depth: usize) -> Result<(), CanonicalError> {
        if depth >= MAX_DEPTH { Err(CanonicalError::TooDeep { at: self.at }) } else { Ok(()) }
    }

    fn invalid(&self) -> CanonicalError {
        CanonicalError::Invalid { at: self.at }
    }
}

/// Returns the number of leading bytes that a JSON string holds without an escape.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if let Some(special) = first_special(u64::from_le_bytes(*word)) {
            return index * 8 + special;
        }
    }
    let special = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    words.len() * 8 + special.unwrap_or(rest.len())
}

/// Returns the index of the first quote, backslash or byte below 0x20 among eight bytes. The method
/// is "find a zero byte" (Hacker's Delight, section 6-1).
fn first_special(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_in = |w: u64| w.wrapping_sub(ONES) & !w;
    let quote = zero_in(word ^ (ONES * u64::from(b'"')));
    let backslash = zero_in(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    // A borrow can set wrong bits above the first match, but never below it.
    let found = (quote | backslash | control) & HIGH;
    (found != 0).then_some(found.trailing_zeros() as usize / 8)
}

/// Appends one code point as `QuoteJSONString` prints it. A lone surrogate becomes a lower-case
/// escape.
fn write_code_point(code: u32, out: &mut Vec<u8>) {
    let short = match code {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        0x22 => b'"',
        0x5c => b'\\',
        _ => 0,
    };
    if short != 0 {
        out.extend_from_slice(&[b'\\', short]);
        return;
    }
    match char::from_u32(code) {
        Some(character) if code >= 0x20 => {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => out.extend_from_slice(format!("\\u{code:04x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests;
