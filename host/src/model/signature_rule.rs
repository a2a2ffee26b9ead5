//! The rules by which requests are signed. One table serves sending deliveries, verifying them, and
//! webhooks of senders that sign the same way.
//!
//! Sources: Standard Webhooks 1.0 (`spec/standard-webhooks.md`), GitHub "Validating webhook
//! deliveries", stripe-node `Webhooks.ts`, the vendors' pages for the two Perfex formats.

use super::signature_scheme::SignatureScheme;
use serde::{Deserialize, Serialize};

/// The hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Algorithm)]
pub enum HashAlgorithm {
    /// SHA-1, which some senders still use. An HMAC with SHA-1 has not been broken.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Encoding)]
pub enum SignatureEncoding {
    /// Hexadecimal, in either case.
    #[default]
    Hex,
    /// Base64, in the standard or the URL alphabet, with or without padding.
    Base64,
}

/// The way in which the bytes of the key are read from the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyForm {
    /// The bytes of the secret's text, whatever it looks like.
    #[default]
    Text,
    /// The secret is hexadecimal.
    Hex,
    /// The secret is base64.
    Base64,
    /// As in Standard Webhooks: base64 after `whsec_`, or else the bytes of the text.
    Standard,
}

/// One way to sign a request with an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HmacRule<'a> {
    /// The hash function.
    pub algorithm: HashAlgorithm,
    /// The header with the signature. It may hold several with white space or commas between them.
    pub header: &'a str,
    /// The encoding of the signature.
    pub encoding: SignatureEncoding,
    /// The text before the signature.
    pub prefix: &'a str,
    /// The name of the signature's value in a header such as `t=…,v1=…`.
    pub part: Option<&'a str>,
    /// The place of the signed time: `header:NAME`, or `part:NAME` of the signature's header.
    pub timestamp: Option<&'a str>,
    /// The header with the signed id.
    pub id: Option<&'a str>,
    /// The signed text, in the syntax of
    /// [`parse_template`](super::webhook_source::template::parse_template).
    pub signed: &'a str,
    pub key: KeyForm,
}

/// Only the body is signed.
pub const SIGNED_BODY: &str = "{body}";
/// The time and the body are signed.
pub const SIGNED_TIME_AND_BODY: &str = "{timestamp}.{body}";
/// The id, the time and the body are signed.
pub const SIGNED_ID_TIME_AND_BODY: &str = "{id}.{timestamp}.{body}";

/// Lower-case hexadecimal HMAC-SHA256 of the body with the secret as it is written.
pub const HEX: HmacRule<'static> = HmacRule {
    algorithm: HashAlgorithm::Sha256,
    header: "",
    encoding: SignatureEncoding::Hex,
    prefix: "",
    part: None,
    timestamp: None,
    id: None,
    signed: SIGNED_BODY,
    key: KeyForm::Text,
};
/// [`HEX`] in base64.
pub const BASE64: HmacRule<'static> = HmacRule { encoding: SignatureEncoding::Base64, ..HEX };
/// `t=SECONDS,v1=HEX` over `SECONDS.BODY`.
pub const TIMED: HmacRule<'static> =
    HmacRule { part: Some("v1"), timestamp: Some("part:t"), signed: SIGNED_TIME_AND_BODY, ..HEX };

/// Standard Webhooks 1.0, symmetric.
pub const STANDARD: HmacRule<'static> = HmacRule {
    header: "webhook-signature",
    prefix: "v1,",
    timestamp: Some("header:webhook-timestamp"),
    id: Some("webhook-id"),
    signed: SIGNED_ID_TIME_AND_BODY,
    key: KeyForm::Standard,
    ..BASE64
};
/// Standard Webhooks 1.0, asymmetric: the same text, signed with a key pair instead of an HMAC.
const ED25519: HmacRule<'static> = HmacRule { prefix: "v1a,", ..STANDARD };
/// PerfexAPI, as its vendor documents it.
pub const PERFEXAPI: HmacRule<'static> = HmacRule { header: "x-perfexapi-signature", ..HEX };
/// PerfexAPI, as its n8n node reads it.
pub const WEBHOOK: HmacRule<'static> = HmacRule { header: "x-webhook-signature", ..HEX };
/// Stripe.
pub const STRIPE: HmacRule<'static> = HmacRule { header: "stripe-signature", ..TIMED };
/// GitHub.
pub const GITHUB: HmacRule<'static> =
    HmacRule { header: "x-hub-signature-256", prefix: "sha256=", ..HEX };
/// The REST API module of Themesic.
pub const THEMESIC: HmacRule<'static> = HmacRule { header: "x-perfex-signature", ..TIMED };

impl SignatureScheme {
    /// Returns the rule of the scheme.
    pub const fn rule(self) -> &'static HmacRule<'static> {
        match self {
            Self::Standard => &STANDARD,
            Self::PerfexApi => &PERFEXAPI,
            Self::Webhook => &WEBHOOK,
            Self::Stripe => &STRIPE,
            Self::Github => &GITHUB,
            Self::Themesic => &THEMESIC,
            Self::Ed25519 => &ED25519,
        }
    }

    /// Whether the header may hold the signatures of two secrets. Themesic's receiver reads only
    /// one.
    pub const fn takes_two_signatures(self) -> bool {
        matches!(self, Self::Standard | Self::Ed25519 | Self::Stripe)
    }
}
