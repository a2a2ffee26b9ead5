//! The message of a delivery, and the names of the five formats of its body. `delivery::envelope`
//! renders them.

use super::trace_context::{TRACE_PARENT, TRACE_STATE};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The format of a delivery's body.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schema(as = Envelope)]
pub enum EnvelopeForm {
    /// Waybill's own format.
    #[default]
    Default,
    /// The format that Standard Webhooks recommends.
    Standard,
    /// CloudEvents in structured mode.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// CloudEvents in binary mode.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
    /// Only the data, as it was captured.
    Raw,
}

impl EnvelopeForm {
    /// All formats.
    pub const ALL: [Self; 5] =
        [Self::Default, Self::Standard, Self::CloudEvents, Self::CloudEventsBinary, Self::Raw];

    /// Returns the name of the format.
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

/// The message of a delivery. All JSON texts are valid JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvelopeMessage<'a> {
    /// The delivery's id.
    pub delivery_id: &'a str,
    /// The event's id. An event that a module made has an id of its own.
    pub event_id: &'a str,
    /// The id of the captured event, if a module made this event of it.
    pub parent_id: Option<&'a str>,
    pub event_type: &'a str,
    /// Time of the event, in RFC 3339.
    pub timestamp: &'a str,
    /// The source's name.
    pub source: &'a str,
    /// The kind of record that the event is about.
    pub resource: Option<&'a str>,
    /// The id of that record.
    pub resource_id: Option<&'a str>,
    /// The data, as JSON text.
    pub data: &'a str,
    /// The names of the changed fields, as JSON text.
    pub changed: Option<&'a str>,
    /// The old values of the changed fields, as JSON text.
    pub previous: Option<&'a str>,
    /// The number of events that collapsed into this one.
    pub collapsed: Option<u32>,
    /// The CloudEvents type that the sender gave, if it differs from `event_type`.
    pub sent_type: Option<&'a str>,
    /// The CloudEvents subject that the sender gave, if it differs from `resource_id`.
    pub subject: Option<&'a str>,
    /// The content type of the data. `None` means `application/json`. Data that is not JSON is a
    /// string in `data`.
    pub content_type: Option<&'a str>,
    /// The schema of the data.
    pub schema: Option<&'a str>,
    /// Whether that string is base64 of the data.
    pub is_base64: bool,
    /// The number of times the event was delivered, including this one.
    pub hops: Option<u32>,
    /// The CloudEvents extension attributes of the event, as the JSON text of an object.
    pub extensions: Option<&'a str>,
    /// Attributes that modules set. Each replaces the extension with its name.
    pub attributes: &'a [(String, String)],
    /// The `traceparent` of the attempt, for the headers of a message.
    pub trace_parent: Option<&'a str>,
    /// The `tracestate` that goes with it.
    pub trace_state: Option<&'a str>,
}

impl<'a> EnvelopeMessage<'a> {
    /// Returns the headers that pass the trace on.
    pub fn trace_headers<'h>(&self) -> impl Iterator<Item = (&'h str, &'h str)>
    where
        'a: 'h,
    {
        let headers = [(TRACE_PARENT, self.trace_parent), (TRACE_STATE, self.trace_state)];
        headers
            .into_iter()
            .filter_map(|(name, value): (&'h str, Option<&'h str>)| Some((name, value?)))
    }
}

/// A body with the headers that describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedBody {
    pub body: Vec<u8>,
    /// The value of `Content-Type`. Empty for a request without a body.
    pub content_type: Cow<'static, str>,
    /// Further headers, such as `ce-*` in the binary mode of CloudEvents.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The default content type of data.
pub const JSON: &str = "application/json";

impl RenderedBody {
    /// Returns a JSON body.
    pub fn json(body: Vec<u8>) -> Self {
        Self { body, content_type: JSON.into(), headers: Vec::new() }
    }
}
