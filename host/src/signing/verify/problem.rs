//! What can be wrong with a signature, in words.

use crate::model::signature_rule::{SIGNED_BODY, SIGNED_ID_TIME_AND_BODY, SIGNED_TIME_AND_BODY};
use crate::time::span::TimeSpan;
use http::HeaderName;
use std::time::Duration;

/// One thing that is wrong with a signature or its header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// It was made longer ago than the tolerance.
    #[error("the timestamp is {} old, more than the 5m that are tolerated: a late or replayed delivery, or a wrong clock", TimeSpan::new(*.0))]
    TooOld(Duration),
    /// It is made further in the future than the tolerance.
    #[error("the timestamp is {} in the future, more than the 5m that are tolerated: one of the clocks is wrong", TimeSpan::new(*.0))]
    InFuture(Duration),
    /// It is in milliseconds.
    #[error("the timestamp is in milliseconds; it must be Unix seconds")]
    TimestampMilliseconds,
    /// It is not a number.
    #[error("the timestamp `{0}` is not a number of Unix seconds")]
    TimestampForm(String),
    /// A header that belongs to the signed content is missing.
    #[error("the header `{0}`, which is part of what is signed, is missing")]
    MissingHeader(HeaderName),
    /// The list of Standard Webhooks has no entry of a known version.
    #[error(
        "the header has no entry `v1,…` or `v1a,…`; entries are separated by spaces, version and signature by a comma"
    )]
    NoVersion,
    /// A prefix of the value is missing.
    #[error("the value lacks the prefix `{0}`")]
    MissingPrefix(&'static str),
    /// The value has a prefix that the scheme has not.
    #[error("the value begins with `{0}`, which this scheme does not have")]
    NeedlessPrefix(&'static str),
    /// The value has not the form `t=…,v1=…`.
    #[error("the value has not the form `t=UNIX_SECONDS,v1=HEX`")]
    NoTimedForm,
    /// It fits in another encoding.
    #[error("the signature is {0}")]
    Encoding(GivenEncoding),
    /// It fits with the secret read otherwise.
    #[error("it fits if the secret is read {0}")]
    Reading(SecretReading),
    /// It fits for other content.
    #[error("it is the signature of {0}")]
    Content(SignedContent),
    /// It fits for another body.
    #[error("it fits {0}")]
    Body(BodyChange),
    /// No variation fits.
    #[error(
        "it does not fit, nor does any usual variation: another secret, or body, id or timestamp are not those that were signed"
    )]
    Mismatch,
}

/// How a signature is encoded that should be encoded otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GivenEncoding {
    /// In hex instead of base64.
    #[error("in hex; this scheme has it in base64")]
    Hex,
    /// In base64 instead of hex.
    #[error("in base64; this scheme has it in hex")]
    Base64,
    /// In base64 of the URL alphabet or without padding.
    #[error("in base64 of the URL alphabet, or without padding; this scheme has standard base64")]
    UrlBase64,
    /// In base64 of the hex text.
    #[error("the base64 of its hex text, not of its bytes")]
    Base64OfHex,
    /// In upper-case hex.
    #[error("in upper-case hex; this scheme has lower-case hex, which receivers compare as text")]
    UpperHex,
}

/// How a secret was read that its scheme reads otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretReading {
    /// As it is written.
    #[error("literally, as it is written; Standard Webhooks decodes the base64 after `whsec_`")]
    Literal,
    /// As Standard Webhooks has it.
    #[error(
        "as the base64 after `whsec_`, decoded; this scheme takes it literally, `whsec_` included"
    )]
    Decoded,
    /// Literally, but without its prefix.
    #[error("literally without its prefix `whsec_`")]
    WithoutPrefix,
    /// As base64, though it has no prefix.
    #[error("as base64, decoded; as it does not begin with `whsec_` it stands for its own bytes")]
    BareBase64,
    /// With a line break at its end.
    #[error("with a line break at its end, as files have it; remove that where it is configured")]
    WithLineBreak,
}

/// What was signed instead of what the scheme signs.
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
    /// Timestamp and body run together.
    #[error("timestamp and body with nothing between them")]
    TimestampJoinedBody,
}

impl SignedContent {
    /// As a scheme's rule writes it.
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

/// How the body at hand differs from the one that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyChange {
    /// A line break was added.
    #[error("the body without the line break at its end, which an editor or `echo` has added")]
    LineBreakAdded,
    /// The line break was lost.
    #[error("the body with a line break at its end, which has been lost")]
    LineBreakLost,
    /// It was parsed and written again.
    #[error(
        "the body in its compact form: the body at hand was parsed and written again; verify the raw bytes, before any JSON parser"
    )]
    Reserialised,
    /// Its line ends were changed.
    #[error("the body with LF line ends; they have been turned into CRLF")]
    LineEnds,
    /// A byte order mark was added.
    #[error("the body without the byte order mark at its start, which an editor has added")]
    ByteOrderMark,
    /// The signature is one of no body.
    #[error("an empty body: the body was read before it was signed or checked")]
    Empty,
}
