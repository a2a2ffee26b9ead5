//! Text that both databases can hold.
//!
//! PostgreSQL refuses U+0000 in text (its manual, section 8.3), SQLite takes it and cuts the text
//! there in some of its functions. So that both give the same result, the character is replaced
//! before anything is written: by U+FFFD, as HTML and `CommonMark` do. JSON texts need no look:
//! they can hold the character only as `\u0000`, which is plain ASCII.

/// What the databases refuse.
const REFUSED: char = '\0';
/// What stands in its place.
const REPLACEMENT: &str = "\u{fffd}";

/// The text with every U+0000 replaced by U+FFFD; without a copy where there is none.
pub fn make_storable(text: String) -> String {
    if is_storable(&text) { text } else { text.replace(REFUSED, REPLACEMENT) }
}

/// Whether both databases hold the text as it is.
pub fn is_storable(text: &str) -> bool {
    !text.as_bytes().contains(&b'\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u_0000_is_replaced_and_nothing_else() {
        assert_eq!(make_storable("a\0b\0".to_owned()), "a\u{fffd}b\u{fffd}");
        assert_eq!(make_storable("a\u{1}\u{7f}é\u{10ffff}".to_owned()), "a\u{1}\u{7f}é\u{10ffff}");
        assert!(is_storable("") && !is_storable("\0"));
    }
}
