//! The requests of modules, the answers that modules see, and the reasons why there is no answer.

use crate::net::http_client::ClientReply;
use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The body of a request or of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleBody {
    Json(String),
    Text(String),
    #[serde(with = "base64_text")]
    Bytes(Vec<u8>),
}

/// A request as a module makes it.
#[derive(Debug, Clone)]
pub struct ModuleRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// The names of the secrets to fill in.
    pub secrets: Vec<String>,
    pub body: Option<ModuleBody>,
}

/// An answer as a module sees it, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleReply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: ModuleBody,
}

/// Why a module gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRefusal {
    /// A code that the interface package lists.
    pub code: &'static str,
    /// The reason in a sentence.
    pub message: String,
    /// Whether the same request may succeed later.
    pub may_pass: bool,
}

impl RequestRefusal {
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), may_pass: false }
    }

    pub fn passing(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), may_pass: true }
    }
}

impl ModuleReply {
    /// Reads a reply. The body is JSON only if the content type says so and the text is valid.
    pub fn of(reply: &ClientReply) -> Self {
        let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(is_json_type);
        let body = match String::from_utf8(reply.body.to_vec()) {
            Ok(text) if is_json && serde_json::from_str::<&RawValue>(&text).is_ok() => {
                ModuleBody::Json(text)
            }
            Ok(text) => ModuleBody::Text(text),
            Err(error) => ModuleBody::Bytes(error.into_bytes()),
        };
        // A cookie is a credential, and no later request would send it back.
        let headers = reply.headers.iter().filter(|(name, _)| **name != header::SET_COOKIE);
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        Self { status: reply.status.as_u16(), headers: headers.filter_map(text).collect(), body }
    }
}

/// Whether a content type stands for JSON.
pub fn is_json_type(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Stores bytes as base64 in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
