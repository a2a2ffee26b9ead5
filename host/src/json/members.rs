//! The members of a JSON object as they are written, found without building what is not asked for.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The members of a JSON object, in the order in which they stand.
#[derive(Debug)]
pub struct JsonMembers<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> JsonMembers<'a> {
    /// Reads an object; an error says what is not JSON, or no object.
    pub fn read(json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The names of the members, in the order in which they stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The members, in the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The value of a member; the last one's, where several have the name (RFC 8259, section 4,
    /// leaves that open, and most readers keep the last).
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// A name, which is borrowed where it has no escapes. serde's own `Cow` never is.
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

/// A text as it reads, a number as it is written.
pub fn scalar_text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
    .filter(|text: &String| !text.is_empty())
}

/// A text without the byte order mark that some systems of Windows put before it.
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_what_their_names_mean() {
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
