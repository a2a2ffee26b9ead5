//! The names of CloudEvents 1.0.2, and the extensions that Waybill adds to what it sends.

/// Most attributes of an event that comes in, and most extensions of one that leaves. A map of
/// headers panics above 24,576, which 225 KB of short members reach.
pub const MAX_ATTRIBUTES: usize = 256;

/// The version of the specification, in `specversion`.
pub const SPEC_VERSION: &str = "1.0";
/// What the headers of binary mode begin with (HTTP binding, section 3.1.3).
pub const HEADER_PREFIX: &str = "ce-";
/// The media type of structured mode (HTTP binding, section 3.2.1).
pub const STRUCTURED_TYPE: &str = "application/cloudevents+json";

/// Members of an envelope that an event has a field of its own for.
pub const ENVELOPE: [&str; 7] =
    ["specversion", "id", "source", "type", "time", "data", "data_base64"];
/// Extensions that each delivery may carry.
pub const OWN_EXTENSIONS: [&str; 3] = ["deliveryid", "parentid", "collapsed"];

/// Whether an extension cannot have this name, because an envelope has another use for it.
pub fn is_taken(name: &str) -> bool {
    ENVELOPE.contains(&name) || OWN_EXTENSIONS.contains(&name)
}
