//! The names of CloudEvents 1.0.2, and the extensions that Waybill adds to deliveries.

/// Most attributes of a received event, and most extensions of a sent one. A header map panics
/// above 24,576 entries, which 225 KB of short members reach.
pub const MAX_ATTRIBUTES: usize = 256;

/// The version of the specification, in `specversion`.
pub const SPEC_VERSION: &str = "1.0";
/// The prefix of the headers of binary mode (HTTP binding, section 3.1.3).
pub const HEADER_PREFIX: &str = "ce-";
/// The media type of structured mode (HTTP binding, section 3.2.1).
pub const STRUCTURED_TYPE: &str = "application/cloudevents+json";

/// The members of an envelope that are fields of an event, not extensions.
pub const ENVELOPE: [&str; 7] =
    ["specversion", "id", "source", "type", "time", "data", "data_base64"];
/// The extensions that Waybill itself adds to deliveries.
pub const OWN_EXTENSIONS: [&str; 3] = ["deliveryid", "parentid", "collapsed"];

/// Whether a name cannot be an extension, because an envelope already uses it.
pub fn is_taken(name: &str) -> bool {
    ENVELOPE.contains(&name) || OWN_EXTENSIONS.contains(&name)
}
