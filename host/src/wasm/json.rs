//! Checks that a text is one JSON value that every later stage can read.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value that was checked and dropped. Unlike `IgnoredAny`, it fails where a reader of the
/// value would fail: at nesting deeper than 128, unpaired surrogates, and numbers too large for a
/// double.
struct ReadableJson;

struct JsonLook;

/// Checks that `text` is one JSON value. The error says what is wrong and where.
pub fn check_json(text: &str) -> Result<(), String> {
    serde_json::from_str::<ReadableJson>(text).map(drop).map_err(|e| e.to_string())
}

impl<'de> Deserialize<'de> for ReadableJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonLook)
    }
}

impl<'de> Visitor<'de> for JsonLook {
    type Value = ReadableJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<ReadableJson, E> {
        Ok(ReadableJson)
    }

    fn visit_bool<E>(self, _: bool) -> Result<ReadableJson, E> {
        Ok(ReadableJson)
    }

    fn visit_i64<E>(self, _: i64) -> Result<ReadableJson, E> {
        Ok(ReadableJson)
    }

    fn visit_u64<E>(self, _: u64) -> Result<ReadableJson, E> {
        Ok(ReadableJson)
    }

    fn visit_f64<E>(self, _: f64) -> Result<ReadableJson, E> {
        Ok(ReadableJson)
    }

    fn visit_str<E>(self, _: &str) -> Result<ReadableJson, E> {
        Ok(ReadableJson)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ReadableJson, A::Error> {
        while seq.next_element::<ReadableJson>()?.is_some() {}
        Ok(ReadableJson)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadableJson, A::Error> {
        while map.next_entry::<ReadableJson, ReadableJson>()?.is_some() {}
        Ok(ReadableJson)
    }
}

#[cfg(test)]
mod tests {
    use super::check_json;

    #[test]
    fn values_pass() {
        for text in
            ["null", " {\"a\":[1,-2,3.5e3,\"x\\u00e9\",true]} ", "\"\"", "18446744073709551615"]
        {
            assert_eq!(check_json(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        for text in ["", "{", "{}{}", "{'a':1}", "[1,]", "nul", "\"\\ud800\"", "1e999"] {
            let message = check_json(text).unwrap_err();
            assert!(message.contains("line 1"), "{text}: {message}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = format!("{}{}", "[".repeat(129), "]".repeat(129));
        assert!(check_json(&text).unwrap_err().contains("recursion"));
    }
}
