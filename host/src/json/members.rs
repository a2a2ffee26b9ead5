//! Finds the members of a JSON object without parsing the values that nobody reads.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The members of a JSON object as raw text, in their original order.
#[derive(Debug)]
pub struct JsonMembers<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> JsonMembers<'a> {
    /// Reads an object. Fails if the text is not valid JSON, or is not an object.
    pub fn read(json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Returns the names of the members in their original order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Returns the members in their original order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Returns the value of a member. If several members have the name, the last one counts: RFC
    /// 8259, section 4, leaves the choice open, and most readers take the last.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// The name of a member. It borrows from the text unless the name contains an escape; `Cow` itself
/// always allocates when serde deserialises it.
#[derive(Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = JsonMembers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((MemberName(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(JsonMembers(members))
    }
}

impl<'de> Deserialize<'de> for JsonMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor)
    }
}

/// Returns the text of a member, or an empty one where the member is missing or not a text.
pub fn read_text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the elements of a member, or none where the member is missing or not a list.
pub fn read_list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Returns a string without its quotes and escapes, or a number as it is written. Returns `None`
/// for any other value and for an empty string.
pub fn scalar_text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
    .filter(|text: &String| !text.is_empty())
}

/// Removes the UTF-8 byte order mark that some Windows programs write at the start of a text.
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_unescaped_names() {
        let members = JsonMembers::read(r#"{"a":1,"b":[{"a":2}],"\u0063":"x","a":3}"#).unwrap();
        let get = |name| members.get(name).map(RawValue::get);
        assert_eq!(
            (get("a"), get("b"), get("c")),
            (Some("3"), Some(r#"[{"a":2}]"#), Some("\"x\""))
        );
        assert_eq!(get("d"), None);
        assert!(JsonMembers::read("[1]").is_err() && JsonMembers::read(r#"{"a":"#).is_err());
    }
}
