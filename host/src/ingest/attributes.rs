//! Turns what a sender says besides the data into attributes of the event: the members around the
//! data, and the sender's own headers.
//!
//! The names become names of CloudEvents extensions: lower-case letters and digits. Values longer
//! than [`LONGEST`] bytes, and all values after the first [`MOST`], become members of one attribute
//! `further`, which is never sent as a header. Senders do not sign their headers.

use crate::json::members::JsonMembers;
use crate::json::pointer;
use crate::model::attributes::RESERVED;
use crate::model::cloud_events;
use http::HeaderMap;
use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;

/// Most attributes of an event, besides `further`.
const MOST: usize = 64;
/// The longest value of an attribute outside of `further`, in bytes of JSON.
const LONGEST: usize = 1_024;

/// Names that no attribute from a sender may have, besides those of an envelope: `data_base64` as
/// an extension would be called, and `further`.
const TAKEN: [&str; 2] = ["database64", "further"];

/// Collects the attributes of an event.
#[derive(Default)]
pub struct AttributeSet {
    own: IndexMap<String, Box<RawValue>>,
    further: IndexMap<String, Box<RawValue>>,
}

impl AttributeSet {
    /// Adds the members of all objects that enclose the data, except those at the pointers `read`.
    /// `body` has the members of the outermost object.
    pub fn add_around(&mut self, body: &JsonMembers<'_>, data: &str, read: &[&str]) {
        let mut inner: Option<JsonMembers<'_>> = None;
        let mut steps = data.match_indices('/').peekable();
        while let Some((at, _)) = steps.next() {
            let members = inner.as_ref().unwrap_or(body);
            let (path, rest) = data.split_at(at);
            let token = rest.split('/').nth(1).unwrap_or_default();
            let token = pointer::unescape_token(token);
            let mut next = None;
            for (name, member) in members.iter() {
                if name == token {
                    next = Some(member);
                } else if !read.iter().any(|place| is_member_at(place, path, name))
                    && !is_credential(name)
                {
                    self.add(name, member.to_owned());
                }
            }
            // The last step leads to the data itself.
            let Some(next) = next.filter(|_| steps.peek().is_some()) else { return };
            let Ok(next) = JsonMembers::read(next.get()) else { return };
            inner = Some(next);
        }
    }

    /// Adds headers that [`kept_headers`] chose.
    pub fn add_headers(&mut self, headers: &[KeptHeader<'_>]) {
        for (name, text) in headers {
            self.add_text(name, text);
        }
    }

    pub fn add_text(&mut self, name: &str, text: &str) {
        if let Ok(value) = to_raw_value(text) {
            self.add(name, value);
        }
    }

    fn add(&mut self, name: &str, value: Box<RawValue>) {
        // Arrays and objects are never sent as headers, so their length does not matter.
        let is_structure = value.get().starts_with(['{', '[']);
        let fits = is_structure || value.get().len() <= LONGEST;
        if self.own.len() >= MOST || !fits {
            self.further.insert(name.to_owned(), value);
            return;
        }
        let name = attribute_name(name);
        // If a name occurs again, it gets a number.
        let numbered = (2..).map(|n| format!("{name}{n}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        if let Some(free) = names.find(|name| !self.own.contains_key(name)) {
            self.own.insert(free, value);
        }
    }

    /// Returns the attributes as a JSON object, if there are any.
    pub fn into_json(mut self) -> Option<Box<RawValue>> {
        if !self.further.is_empty() {
            let further = to_raw_value(&self.further).ok()?;
            self.own.insert("further".to_owned(), further);
        }
        if self.own.is_empty() { None } else { to_raw_value(&self.own).ok() }
    }
}

/// A header that becomes an attribute: its name without the sender's prefix, and its text.
pub type KeptHeader<'h> = (&'h str, Cow<'h, str>);

/// Returns the headers whose names have one of these prefixes, without the prefix. Leaves out those
/// named in `proofs`, which prove the sender's identity.
pub fn kept_headers<'h>(
    headers: &'h HeaderMap,
    beginnings: &[&str],
    proofs: &[&str],
) -> Vec<KeptHeader<'h>> {
    if beginnings.is_empty() {
        return Vec::new();
    }
    let is_proof = |name: &str| proofs.iter().any(|proof| proof.eq_ignore_ascii_case(name));
    let kept = headers.iter().filter(|(name, _)| !is_proof(name.as_str()));
    let kept = kept.filter_map(|(name, value)| {
        let rest = beginnings.iter().find_map(|begin| name.as_str().strip_prefix(begin))?;
        let text = String::from_utf8_lossy(value.as_bytes());
        (!is_credential(rest)).then_some((rest, text))
    });
    kept.collect()
}

/// Whether a pointer leads to the member of this name in the object at `path`.
fn is_member_at(place: &str, path: &str, name: &str) -> bool {
    let token = place.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
    token.is_some_and(|token| !token.contains('/') && pointer::unescape_token(token) == name)
}

/// Whether a name belongs to a value that proves who the sender is. Such values are not stored,
/// because whoever reads an event could use them to send others. `signature-256` is a proof, and
/// `signature_date` is not.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["signature", "hmac", "secret", "token", "password", "authorization"];
    words.iter().any(|word| name.ends_with(word))
        || name.starts_with("hmac")
        || name.starts_with("signature-")
}

/// Returns the code point of a character in hexadecimal digits.
pub fn code_point(c: char) -> String {
    format!("{:x}", u32::from(c))
}

/// Makes a name of a CloudEvents extension. A letter of another script becomes its code point.
fn attribute_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            'a'..='z' | '0'..='9' => text.push(c),
            'A'..='Z' => text.push(c.to_ascii_lowercase()),
            _ if c.is_ascii() => {}
            _ => {
                text.push('u');
                text.push_str(&code_point(c));
            }
        }
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number
        || TAKEN.contains(&text.as_str())
        || cloud_events::is_taken(&text)
        || RESERVED.contains(&text.as_str())
    {
        format!("sender{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(body: &str, data: &str, read: &[&str]) -> String {
        let members = JsonMembers::read(body).unwrap();
        let mut attributes = AttributeSet::default();
        attributes.add_around(&members, data, read);
        attributes.into_json().map(|json| json.get().to_owned()).unwrap_or_default()
    }

    #[test]
    fn members_around_the_data_are_kept_as_they_are_written() {
        let body = r#"{"id":"e","account":"acct_1","livemode":false,"n":1.50,"signature":"s","signature_date":1,
            "data":{"object":{"id":1},"previous_attributes":{"status":"open"}}}"#;
        let wanted = r#"{"account":"acct_1","livemode":false,"n":1.50,"signaturedate":1,"previousattributes":{"status":"open"}}"#;
        assert_eq!(around(body, "/data/object", &["/id"]), wanted);
        assert_eq!(around(body, "", &[]), "");
    }

    #[test]
    fn names_are_those_of_extensions_and_none_is_lost() {
        let body = r#"{"data":1,"id":1,"a_b":2,"aB":3,"客":4,"7":5}"#;
        let wanted = r#"{"senderid":1,"ab":2,"ab2":3,"u5ba2":4,"sender7":5}"#;
        assert_eq!(around(body, "/data", &[]), wanted);
    }

    #[test]
    fn long_and_many_stand_apart() {
        let long = "x".repeat(LONGEST);
        let body = format!(r#"{{"data":1,"note":"{long}"}}"#);
        assert_eq!(around(&body, "/data", &[]), format!(r#"{{"further":{{"note":"{long}"}}}}"#));
        let many: Vec<String> = (0..=MOST).map(|n| format!(r#""a{n}":{n}"#)).collect();
        let all = around(&format!(r#"{{"data":1,{}}}"#, many.join(",")), "/data", &[]);
        assert!(all.ends_with(r#""further":{"a64":64}}"#), "{all}");
    }

    #[test]
    fn headers_are_kept_but_for_what_proves_who_sends() {
        let names =
            ["x-shop-domain", "x-shop-hmac-sha256", "x-shop-token", "x-shop-key", "x-other"];
        let headers: HeaderMap =
            names.map(|name| (name.parse().unwrap(), "v".parse().unwrap())).into_iter().collect();
        let mut attributes = AttributeSet::default();
        attributes.add_headers(&kept_headers(&headers, &["x-shop-"], &["X-Shop-Key"]));
        assert_eq!(attributes.into_json().unwrap().get(), r#"{"domain":"v"}"#);
    }
}
