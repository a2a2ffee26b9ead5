//! Describes in words what can be wrong with a signature.

use crate::model::signature_rule::{SIGNED_BODY, SIGNED_ID_TIME_AND_BODY, SIGNED_TIME_AND_BODY};
use crate::time::span::TimeSpan;
use http::HeaderName;
use std::time::Duration;

/// One problem of a signature or its header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// The signature is older than the tolerance.
    #[error("the timestamp is {} old, more than the tolerance of 5m: the delivery is late or replayed, or a clock is wrong", TimeSpan::new(*.0))]
    TooOld(Duration),
    /// The timestamp is further in the future than the tolerance.
    #[error("the timestamp is {} in the future, more than the tolerance of 5m: one of the clocks is wrong", TimeSpan::new(*.0))]
    InFuture(Duration),
    /// The timestamp is in milliseconds.
    #[error("the timestamp is in milliseconds; it must be Unix seconds")]
    TimestampMilliseconds,
    /// The timestamp is not a number.
    #[error("the timestamp `{0}` is not a number of Unix seconds")]
    TimestampForm(String),
    /// A header that is part of the signed content is missing.
    #[error("the header `{0}`, which is part of the signed content, is missing")]
    MissingHeader(HeaderName),
    /// The list of Standard Webhooks has no entry of a known version.
    #[error(
        "the header has no entry `v1,…` or `v1a,…`; separate entries by spaces, and version and signature by a comma"
    )]
    NoVersion,
    /// The value lacks the prefix of its scheme.
    #[error("the value lacks the prefix `{0}`")]
    MissingPrefix(&'static str),
    /// The value has a prefix that its scheme does not have.
    #[error("the value begins with `{0}`, which this scheme does not have")]
    NeedlessPrefix(&'static str),
    /// The value does not have the form `t=…,v1=…`.
    #[error("the value does not have the form `t=UNIX_SECONDS,v1=HEX`")]
    NoTimedForm,
    /// The signature matches, but is in another encoding.
    #[error("the signature is {0}")]
    Encoding(GivenEncoding),
    /// The signature matches if the secret is read in another way.
    #[error("the signature fits if the secret is read {0}")]
    Reading(SecretReading),
    /// The signature matches other content.
    #[error("the signature covers {0}")]
    Content(SignedContent),
    /// The signature matches a changed body.
    #[error("the signature fits {0}")]
    Body(BodyChange),
    /// No variation matches.
    #[error(
        "the signature does not fit, and no usual variation does: the secret is a different one, or the body, id or timestamp were changed after signing"
    )]
    Mismatch,
}

/// A wrong encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GivenEncoding {
    /// Hex instead of base64.
    #[error("in hex; this scheme uses base64")]
    Hex,
    /// Base64 instead of hex.
    #[error("in base64; this scheme uses hex")]
    Base64,
    /// Base64 in the URL alphabet or without padding.
    #[error("in base64 of the URL alphabet, or without padding; this scheme uses standard base64")]
    UrlBase64,
    /// The base64 of the hex text instead of the bytes.
    #[error("the base64 of its hex text, not of its bytes")]
    Base64OfHex,
    /// Upper-case hex.
    #[error("in upper-case hex; this scheme uses lower-case hex, which receivers compare as text")]
    UpperHex,
}

/// A wrong way to read a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretReading {
    /// Byte for byte as it is written.
    #[error("literally, as it is written; Standard Webhooks decodes the base64 after `whsec_`")]
    Literal,
    /// Decoded as Standard Webhooks does.
    #[error(
        "as the base64 after `whsec_`, decoded; this scheme uses it literally, `whsec_` included"
    )]
    Decoded,
    /// Byte for byte, but without its prefix.
    #[error("literally without its prefix `whsec_`")]
    WithoutPrefix,
    /// Decoded from base64, although it has no prefix.
    #[error("as base64, decoded; a secret without `whsec_` is used as it is written")]
    BareBase64,
    /// With a line break appended.
    #[error(
        "with a line break at its end, as in a file; remove the line break where the secret is configured"
    )]
    WithLineBreak,
}

/// Wrong content that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedContent {
    #[error("the body alone")]
    Body,
    /// Timestamp and body.
    #[error("`timestamp.body`")]
    TimestampBody,
    /// Timestamp, a comma, and body.
    #[error("`timestamp,body`, with a comma")]
    TimestampCommaBody,
    /// Id, timestamp and body.
    #[error("`id.timestamp.body`")]
    IdTimestampBody,
    /// Timestamp and body without a separator.
    #[error("timestamp and body with nothing between them")]
    TimestampJoinedBody,
}

impl SignedContent {
    /// Returns the content in the template syntax of signature rules.
    pub const fn template(self) -> &'static str {
        match self {
            Self::Body => SIGNED_BODY,
            Self::TimestampBody => SIGNED_TIME_AND_BODY,
            Self::TimestampCommaBody => "{timestamp},{body}",
            Self::IdTimestampBody => SIGNED_ID_TIME_AND_BODY,
            Self::TimestampJoinedBody => "{timestamp}{body}",
        }
    }
}

/// The difference between the received body and the one that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyChange {
    /// A line break was added.
    #[error("the body without the line break at its end, which an editor or `echo` added")]
    LineBreakAdded,
    /// The line break was lost.
    #[error("the body with a line break at its end, which was lost on the way")]
    LineBreakLost,
    /// The body was parsed and written again.
    #[error(
        "the body in its compact form: the received body was parsed and written again; verify the raw bytes, before any JSON parser"
    )]
    Reserialised,
    /// The line ends were converted.
    #[error("the body with LF line ends, which were converted to CRLF")]
    LineEnds,
    /// A byte order mark was added.
    #[error("the body without the byte order mark at its start, which an editor added")]
    ByteOrderMark,
    /// An empty body was signed.
    #[error("an empty body: the body was already consumed when it was signed or checked")]
    Empty,
}
