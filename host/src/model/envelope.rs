//! What a delivery says, and the five forms of its body, by name. `delivery::envelope` renders them.

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The form of a delivery's body.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schema(as = Envelope)]
pub enum EnvelopeForm {
    /// Waybill's own.
    #[default]
    Default,
    /// As Standard Webhooks recommends it.
    Standard,
    /// CloudEvents, structured mode.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// CloudEvents, binary mode.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
    /// The data alone, as it was captured.
    Raw,
}

impl EnvelopeForm {
    /// Every form.
    pub const ALL: [Self; 5] =
        [Self::Default, Self::Standard, Self::CloudEvents, Self::CloudEventsBinary, Self::Raw];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Standard => "standard",
            Self::CloudEvents => "cloudevents",
            Self::CloudEventsBinary => "cloudevents-binary",
            Self::Raw => "raw",
        }
    }
}

/// What a delivery says. JSON texts are valid JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvelopeMessage<'a> {
    /// The delivery's id.
    pub delivery_id: &'a str,
    /// The event's id; of one that a module made, its own.
    pub event_id: &'a str,
    /// The id of the captured event that a module made it of.
    pub parent_id: Option<&'a str>,
    pub event_type: &'a str,
    /// When it happened, RFC 3339.
    pub timestamp: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// What kind of thing it is about.
    pub resource: Option<&'a str>,
    /// Which one.
    pub resource_id: Option<&'a str>,
    /// The data, as JSON text.
    pub data: &'a str,
    /// Which fields changed, as JSON text.
    pub changed: Option<&'a str>,
    /// What was before, as JSON text.
    pub previous: Option<&'a str>,
    /// How many events collapsed into this one.
    pub collapsed: Option<u32>,
    /// The type that its sender gave it (CloudEvents), if that is not `event_type`.
    pub sent_type: Option<&'a str>,
    /// The subject that its sender gave it (CloudEvents), if that is not `resource_id`.
    pub subject: Option<&'a str>,
    /// The content type of the data; `application/json` where it is `None`. Data that is not JSON
    /// is a text in `data`.
    pub content_type: Option<&'a str>,
    /// The schema of the data.
    pub schema: Option<&'a str>,
    /// Whether that text is the data in base64.
    pub is_base64: bool,
    /// How often the event was delivered, this time included.
    pub hops: Option<u32>,
    /// CloudEvents extension attributes of the event, as the JSON text of an object.
    pub extensions: Option<&'a str>,
    /// Attributes that modules set; each takes the place of the extension of its name.
    pub attributes: &'a [(String, String)],
}

/// A body and what its request says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedBody {
    pub body: Vec<u8>,
    /// The value of `Content-Type`; empty for a request without a body.
    pub content_type: Cow<'static, str>,
    /// Further headers: `ce-*` in CloudEvents' binary mode.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The content type of data that says none.
pub const JSON: &str = "application/json";

impl RenderedBody {
    /// A body of JSON.
    pub fn json(body: Vec<u8>) -> Self {
        Self { body, content_type: JSON.into(), headers: Vec::new() }
    }
}
