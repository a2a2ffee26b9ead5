//! One page of an API's answer.
//!
//! Rows are located in the text first, and then parsed one by one. So a malformed row does not
//! spoil the others, and a page takes no more memory than its text. Parsed as a whole, it could
//! take a hundred times as much.

use super::super::RunFailed;
use super::plan::ListPlan;
use bytes::Bytes;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Members in which APIs return a list.
const PLACES: [&str; 4] = ["data", "results", "items", "records"];
/// JSON pointers to the total number of rows, as APIs return it.
const TOTALS: [&str; 3] = ["/meta/total", "/total", "/meta/pagination/total"];

/// A page of a list.
#[derive(Debug)]
pub struct PolledPage {
    body: Bytes,
    /// The range of the body that holds the list of rows.
    rows: Range<usize>,
    /// The total number of rows, if the API tells it.
    pub total: Option<u64>,
}

impl PolledPage {
    /// Returns a page without rows.
    pub fn empty() -> Self {
        Self { body: Bytes::from_static(b"[]"), rows: 0..2, total: Some(0) }
    }

    /// Locates the list of rows in an answer.
    pub fn read(plan: &ListPlan, body: Bytes) -> Result<Self, RunFailed> {
        let body = decode_page(body);
        let answer: &RawValue = serde_json::from_slice(&body)
            .map_err(|error| RunFailed::new(format!("the API's answer is not JSON: {error}")))?;
        let answer = answer.get();
        let rows = match &plan.rows {
            Some(place) => pointed(answer, place),
            None => find_rows(answer, plan),
        };
        let Some(rows) = rows.filter(|rows| rows.starts_with('[')) else {
            let place = plan.rows.as_deref().unwrap_or("the usual places");
            return Err(RunFailed::new(format!(
                "the API's answer holds no list at {place}; say where its rows stand by `rows` of the list"
            )));
        };
        let total = TOTALS.iter().find_map(|place| number(pointed(answer, place)?));
        let start = rows.as_ptr().addr() - body.as_ptr().addr();
        let rows = start..start + rows.len();
        Ok(Self { body, rows, total })
    }

    /// Passes the text of each row to `take` until that fails. Returns the number of rows.
    pub fn each_row(
        &self,
        mut take: impl FnMut(&RawValue) -> Result<(), RunFailed>,
    ) -> Result<usize, RunFailed> {
        let (mut count, mut failed) = (0, None);
        let each = EachElement(|row: &RawValue| {
            count += 1;
            failed = take(row).err();
            failed.is_none()
        });
        let text = self.body.get(self.rows.clone()).unwrap_or_default();
        let read = each.deserialize(&mut serde_json::Deserializer::from_slice(text));
        match (failed, read) {
            (Some(failed), _) => Err(failed),
            (None, Ok(())) => Ok(count),
            (None, Err(error)) => {
                Err(RunFailed::new(format!("the API's answer is not JSON: {error}")))
            }
        }
    }
}

/// Returns the text of an answer without its byte order mark. Bytes that are not UTF-8 are replaced
/// by a lone surrogate escape, so that parsing fails for the row that holds them, and for no other.
fn decode_page(body: Bytes) -> Bytes {
    let body = if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body };
    if std::str::from_utf8(&body).is_ok() {
        return body;
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push_str("\\ud800");
        }
    }
    text.into()
}

/// Finds the list in an answer: the answer itself if it is an array, else a member with a usual
/// name.
fn find_rows<'t>(answer: &'t str, plan: &ListPlan) -> Option<&'t str> {
    if answer.starts_with('[') {
        return Some(answer);
    }
    let name = plan.list.trim_matches('/').rsplit('/').next().unwrap_or_default();
    let other = name.replace('-', "_");
    let names: Vec<&str> = PLACES.into_iter().chain([name, &other]).collect();
    let found = members(answer, &names);
    found.into_iter().flatten().find(|found| found.starts_with('['))
}

/// Parses a JSON number, or a JSON string that holds a number.
fn number(text: &str) -> Option<u64> {
    text.trim_matches('"').parse().ok()
}

/// Returns the text of the value that a JSON pointer (RFC 6901) points to.
fn pointed<'t>(text: &'t str, pointer: &str) -> Option<&'t str> {
    if pointer.is_empty() {
        return Some(text);
    }
    let tokens = pointer.strip_prefix('/')?.split('/');
    tokens.map(|token| token.replace("~1", "/").replace("~0", "~")).try_fold(text, |text, token| {
        if text.starts_with('[') {
            return element(text, token.parse().ok()?);
        }
        members(text, &[&token]).pop().flatten()
    })
}

/// Returns the texts of an object's members with these names. If a name occurs several times, the
/// last one counts. Returns nothing if the text is not an object.
fn members<'t>(text: &'t str, names: &[&str]) -> Vec<Option<&'t str>> {
    let read = PageMembers(names).deserialize(&mut serde_json::Deserializer::from_str(text));
    read.unwrap_or_else(|_no_object| vec![None; names.len()])
}

fn element(text: &str, index: usize) -> Option<&str> {
    let read = PageElement(index).deserialize(&mut serde_json::Deserializer::from_str(text));
    read.ok().flatten()
}

struct PageMembers<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for PageMembers<'_> {
    type Value = Vec<Option<&'de str>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageMembers<'_> {
    type Value = Vec<Option<&'de str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let places = found.iter_mut().zip(self.0).filter(|(_, wanted)| **wanted == name);
            let mut places: Vec<_> = places.map(|(place, _)| place).collect();
            if places.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            for place in &mut places {
                **place = Some(value.get());
            }
        }
        Ok(found)
    }
}

struct PageElement(usize);

impl<'de> DeserializeSeed<'de> for PageElement {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PageElement {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut index, mut found) = (0, None);
        while let Some(value) = seq.next_element::<&RawValue>()? {
            if index == self.0 {
                found = Some(value.get());
            }
            index += 1;
        }
        Ok(found)
    }
}

/// Visits the elements of an array until the closure returns `false`.
struct EachElement<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> DeserializeSeed<'de> for EachElement<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for EachElement<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element()? {
            if !(self.0)(value) {
                return Err(A::Error::custom("enough was read"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_the_text() {
        let text = r#"{"a": [1, {"b/c": [7]}], "meta": {"total": "12"}, "a": [2, {"b/c": [8]}]}"#;
        assert_eq!(pointed(text, "/a/1/b~1c"), Some("[8]"), "the last of a name counts");
        assert_eq!(pointed(text, "/meta/total").and_then(number), Some(12));
        for nowhere in ["/a/2", "/a/x", "/b", "a", "/meta/total/x"] {
            assert_eq!(pointed(text, nowhere), None, "{nowhere}");
        }
        assert_eq!(pointed(text, ""), Some(text));
    }

    #[test]
    fn rows_are_given_until_one_is_refused() {
        let page = |body: &'static str| PolledPage {
            body: Bytes::from_static(body.as_bytes()),
            rows: 0..body.len(),
            total: None,
        };
        let mut seen = Vec::new();
        let all = page(r#"[{"id":1}, 2 ,[3]]"#).each_row(|row| {
            seen.push(row.get().to_owned());
            Ok(())
        });
        assert_eq!((all.unwrap(), seen.join(";").as_str()), (3, r#"{"id":1};2;[3]"#));
        let refused = page("[1,2,3]").each_row(|row| match row.get() {
            "2" => Err(RunFailed::new("no more")),
            _ => Ok(()),
        });
        assert_eq!(refused.unwrap_err().to_string(), "no more");
    }
}
