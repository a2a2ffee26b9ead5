//! Makes text storable in both databases.
//!
//! PostgreSQL refuses U+0000 in text (its manual, section 8.3). SQLite accepts the character, but
//! some of its functions cut the text there. Both databases shall give the same result, so U+0000
//! is replaced by U+FFFD before anything is written, as HTML and `CommonMark` do. JSON texts need
//! no check: they can only hold the character as the ASCII escape `\u0000`.

/// The character that PostgreSQL refuses.
const REFUSED: char = '\0';
/// The replacement character U+FFFD.
const REPLACEMENT: &str = "\u{fffd}";

/// Replaces every U+0000 by U+FFFD. Returns the text without a copy if it holds no U+0000.
pub fn make_storable(text: String) -> String {
    if is_storable(&text) { text } else { text.replace(REFUSED, REPLACEMENT) }
}

/// Whether both databases can store the text unchanged.
pub fn is_storable(text: &str) -> bool {
    !text.as_bytes().contains(&b'\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_u_0000_is_replaced() {
        assert_eq!(make_storable("a\0b\0".to_owned()), "a\u{fffd}b\u{fffd}");
        assert_eq!(make_storable("a\u{1}\u{7f}é\u{10ffff}".to_owned()), "a\u{1}\u{7f}é\u{10ffff}");
        assert!(is_storable("") && !is_storable("\0"));
    }
}
