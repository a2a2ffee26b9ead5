//! Entity tags of settings (RFC 9110, section 8.8.3), so that callers do not overwrite changes that
//! they have not seen.
//!
//! A tag holds the time of the change and two bytes of the digest of each field. So any node can
//! tell a caller with an older state which fields changed since, without storing old states.
//! Private values are masked first, so a tag reveals nothing about them.

use super::SettingsResource;
use crate::api::problem::ApiProblem;
use crate::crypto::digest::ShortDigest;
use crate::model::fault::InputFault;
use crate::time::timestamp::Timestamp;
use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::IntoParams;

/// Number of digest bytes for a name, and for a value.
const DIGEST: usize = 2;

/// The entity tag of an object's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    updated_at: Timestamp,
    /// Digests of values by the digests of their fields' names.
    fields: BTreeMap<[u8; DIGEST], [u8; DIGEST]>,
}

fn short_digest(text: &str) -> [u8; DIGEST] {
    let digest = ShortDigest::of([text]);
    let mut short = [0; DIGEST];
    short.iter_mut().zip(digest.bytes()).for_each(|(to, from)| *to = *from);
    short
}

impl EntityTag {
    pub fn of<R: SettingsResource>(object: &R::Object) -> Result<Self, ApiProblem> {
        let state = R::state(object);
        let fields = masked_fields::<R>(object)?;
        let digests = fields
            .iter()
            .map(|(name, value)| (short_digest(name), short_digest(&value.to_string())));
        Ok(Self { updated_at: state.updated_at, fields: digests.collect() })
    }

    #[expect(clippy::expect_used, reason = "base64 between quotation marks is a header's value")]
    pub fn to_header(&self) -> HeaderValue {
        let mut bytes = self.updated_at.micros().to_be_bytes().to_vec();
        bytes.extend(self.fields.iter().flat_map(|(name, value)| [*name, *value]).flatten());
        let text = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(bytes));
        HeaderValue::try_from(text).expect("base64 between quotation marks is a header's value")
    }

    /// Parses a tag. Returns `None` if it is not one of this server.
    fn parse(text: &str) -> Option<Self> {
        // A proxy that compresses makes a tag weak, but the object is the same.
        let text = text.strip_prefix("W/").unwrap_or(text);
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (pairs, []) = rest.as_chunks::<{ 2 * DIGEST }>() else { return None };
        let fields = pairs.iter().map(|[a, b, c, d]| ([*a, *b], [*c, *d]));
        let updated_at = Timestamp::from_micros(i64::from_be_bytes(*time));
        Some(Self { updated_at, fields: fields.collect() })
    }
}

fn masked_fields<R: SettingsResource>(
    object: &R::Object,
) -> Result<serde_json::Map<String, Value>, ApiProblem> {
    let masked = R::masked(R::state(object).settings)?;
    if let Value::Object(fields) = masked { Ok(fields) } else { Err(ApiProblem::internal()) }
}

/// The condition of a request's `If-Match` (RFC 9110, section 13.1.1).
#[derive(Debug, Default)]
pub struct IfMatch {
    /// The accepted tags. `None` accepts any state.
    tags: Option<Vec<String>>,
}

/// The header, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatchHeader {
    /// The `ETag` from an earlier answer of the state to be changed. Without it the change applies
    /// to any state.
    #[param(rename = "If-Match", required = false)]
    #[expect(dead_code, reason = "only described")]
    if_match: Option<String>,
}

impl IfMatch {
    /// Accepts any state.
    pub const ANY: Self = Self { tags: None };

    /// Parses the text of the header.
    pub fn of_tag(text: &str) -> Result<Self, ApiProblem> {
        let value = HeaderValue::try_from(text);
        let value = value.map_err(|error| ApiProblem::malformed_request(error.to_string()))?;
        Self::read(&[(header::IF_MATCH, value)].into_iter().collect())
    }

    fn read(headers: &HeaderMap) -> Result<Self, ApiProblem> {
        let values = headers.get_all(header::IF_MATCH).iter();
        let texts: Vec<String> = values
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .map(|text| text.trim().to_owned())
            .collect();
        let accepts_any = texts.is_empty() || texts.iter().any(|text| text == "*");
        if !accepts_any && !texts.iter().all(|text| is_tag(text)) {
            let detail = "`If-Match` is not a list of entity tags: send the `ETag` of an answer unchanged, or `*`";
            return Err(ApiProblem::malformed_request(detail));
        }
        Ok(Self { tags: (!accepts_any).then_some(texts) })
    }

    /// Fails with 412 if the object has another state than the accepted ones, and names the fields
    /// that changed since.
    pub fn check<R: SettingsResource>(&self, object: &R::Object) -> Result<(), ApiProblem> {
        let Some(tags) = &self.tags else { return Ok(()) };
        let current = EntityTag::of::<R>(object)?;
        let known: Vec<EntityTag> = tags.iter().filter_map(|text| EntityTag::parse(text)).collect();
        if known.contains(&current) {
            return Ok(());
        }
        let state = R::state(object);
        let newest = known.iter().max_by_key(|tag| tag.updated_at);
        let changed = match newest {
            Some(known) => changed_fields::<R>(object, known, &current)?,
            None => Vec::new(),
        };
        let name = R::name(state.settings);
        let problem = ApiProblem::changed_since(name, state.updated_at, changed);
        Err(problem.with_value(header::ETAG, current.to_header()))
    }
}

/// Returns whether a text has the form of an entity tag, of any server.
fn is_tag(text: &str) -> bool {
    let text = text.strip_prefix("W/").unwrap_or(text);
    text.len() >= 2 && text.starts_with('"') && text.ends_with('"')
}

/// Returns the fields in which the caller's state differs from the present one.
fn changed_fields<R: SettingsResource>(
    object: &R::Object,
    known: &EntityTag,
    current: &EntityTag,
) -> Result<Vec<InputFault>, ApiProblem> {
    let fields = masked_fields::<R>(object)?;
    let names: BTreeSet<&String> = fields.keys().collect();
    let differs = |name: &&&String| {
        let digest = short_digest(name);
        known.fields.get(&digest) != current.fields.get(&digest)
    };
    let fault = |name: &String| {
        let value = fields.get(name).unwrap_or(&Value::Null);
        InputFault::new(name.as_str(), format!("was changed; it is now {value}"))
    };
    Ok(names.iter().filter(differs).map(|name| fault(name)).collect())
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiProblem> {
        Self::read(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let fields = [("name", "\"a\""), ("url", "\"b\"")];
        let fields = fields.map(|(name, value)| (short_digest(name), short_digest(value)));
        let tag = EntityTag {
            updated_at: Timestamp::from_micros(1_700_000_000_000_001),
            fields: fields.into_iter().collect(),
        };
        let text = tag.to_header().to_str().unwrap().to_owned();
        assert_eq!(EntityTag::parse(&text), Some(tag.clone()));
        assert_eq!(EntityTag::parse(&format!("W/{text}")), Some(tag));
        for other in ["", "\"\"", "\"x\"", "*", "\"AAAA\"", "no quotation marks"] {
            assert_eq!(EntityTag::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_request_without_the_header_accepts_any_state() {
        let of = |values: &[&'static str]| {
            let values = values.iter().map(|v| (header::IF_MATCH, HeaderValue::from_static(v)));
            IfMatch::read(&values.collect()).map(|read| read.tags).ok()
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["*"]), Some(None));
        let two = vec!["\"a\"".to_owned(), "\"b\"".to_owned()];
        assert_eq!(of(&["\"a\", \"b\""]), Some(Some(two)));
        assert_eq!([of(&[""]), of(&["a"]), of(&["\"a\", b"])], [None, None, None]);
    }
}
