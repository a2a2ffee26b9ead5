//! Replaces lone surrogates in JSON texts.
//!
//! A JSON text can contain the escape of half a surrogate pair (`"\ud83d"`), for example because a
//! program cut a text in the middle of a character. No Unicode string can hold such a half, so
//! readers disagree: some refuse the whole text, others replace the half. Waybill replaces it by
//! U+FFFD, in names and in values, when a text arrives. All later readers then see the same text.

use std::borrow::Cow;

/// The length of an escape such as `\ud83d`, in bytes.
const ESCAPE: usize = 6;
/// The escape of U+FFFD, which replaces a lone half.
const REPLACEMENT: &[u8; ESCAPE] = b"\\ufffd";

/// Replaces the escape of each lone surrogate by the escape of U+FFFD. The text does not have to be
/// valid JSON.
pub fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    // Most texts contain no escape at all.
    let has_escape = memchr::memchr(b'\\', json.as_bytes()).is_some();
    if !has_escape || !json.contains("\\ud") && !json.contains("\\uD") {
        return Cow::Borrowed(json);
    }
    let mut bytes = json.as_bytes().to_vec();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\\')) {
        at += found;
        at += match half_at(&bytes, at) {
            Some(SurrogateHalf::High)
                if half_at(&bytes, at + ESCAPE) == Some(SurrogateHalf::Low) =>
            {
                2 * ESCAPE
            }
            Some(SurrogateHalf::High | SurrogateHalf::Low) => {
                if let Some(place) = bytes.get_mut(at..at + ESCAPE) {
                    place.copy_from_slice(REPLACEMENT);
                }
                ESCAPE
            }
            None => 2,
        };
    }
    // Only whole ASCII escapes were replaced, so the bytes are still UTF-8.
    String::from_utf8(bytes).map_or(Cow::Borrowed(json), Cow::Owned)
}

/// Whether a JSON text contains a lone surrogate.
pub fn has_lone_surrogate(json: &str) -> bool {
    *replace_lone_surrogates(json) != *json
}

/// One half of a surrogate pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SurrogateHalf {
    High,
    Low,
}

/// Returns the surrogate half that the escape at this byte stands for, if it stands for one.
fn half_at(bytes: &[u8], at: usize) -> Option<SurrogateHalf> {
    let digits = bytes.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xD800..=0xDBFF => Some(SurrogateHalf::High),
        0xDC00..=0xDFFF => Some(SurrogateHalf::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_lone_halves_are_replaced() {
        for (given, wanted) in [
            (r#"{"k\udc00":1}"#, r#"{"k\ufffd":1}"#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uD83D\uDE00 \ud83d\ude00""#, r#""\uD83D\uDE00 \ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\u00e9 é 😀 \ud7ff \ue000""#, r#""\u00e9 é 😀 \ud7ff \ue000""#),
            (r#""\ud8"#, r#""\ud8"#),
            (r#""\ud83"#, r#""\ud83"#),
        ] {
            assert_eq!(replace_lone_surrogates(given), wanted, "{given}");
            assert_eq!(has_lone_surrogate(given), given != wanted, "{given}");
        }
    }

    proptest! {
        #[test]
        fn every_json_text_can_be_read_afterwards(halves in prop::collection::vec(0xD700_u16..0xE100, 0..8)) {
            let text: String = halves.iter().map(|half| format!("\\u{half:04x}")).collect::<Vec<_>>().concat();
            let json = format!("\"{text}\"");
            let mended = replace_lone_surrogates(&json);
            let read: Result<String, _> = serde_json::from_str(&mended);
            prop_assert!(read.is_ok(), "{}", mended);
            if serde_json::from_str::<String>(&json).is_ok() {
                prop_assert_eq!(&*mended, json.as_str());
            }
        }
    }
}
