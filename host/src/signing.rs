//! Signs deliveries. One request may carry several schemes. Every attempt is signed anew.
//!
//! A [`DeliverySigner`] is prepared once for an endpoint and holds its key in each form that its
//! schemes read. The scheme alone decides how to read the secret. Waybill never guesses that from
//! the secret:
//!
//! | scheme | header | signs | reads the secret |
//! |---|---|---|---|
//! | `standard` | `webhook-signature: v1,BASE64` | `id.timestamp.body` | base64-decoded after `whsec_`; as raw bytes if it has no such prefix |
//! | `perfexapi` | `X-PerfexAPI-Signature: HEX` | body | literally |
//! | `webhook` | `X-Webhook-Signature: HEX` | body | literally |
//! | `stripe` | `Stripe-Signature: t=…,v1=HEX` | `timestamp.body` | literally, `whsec_` included |
//! | `github` | `X-Hub-Signature-256: sha256=HEX` | body | literally |
//! | `themesic` | `X-Perfex-Signature: t=…,v1=HEX` | `timestamp.body` | literally |
//! | `ed25519` | `webhook-signature: v1a,BASE64` | `id.timestamp.body` | a `whsk_` private key; any other secret is what the key pair is derived from |
//!
//! During the grace period of a rotated secret, headers that are lists (`standard`, `ed25519`,
//! `stripe`) hold the signatures of both secrets, the new one first. The other headers hold a
//! single value, the signature of the new secret. Receivers of these schemes must know the new
//! secret before the rotation.
//!
//! `webhook-id` and `webhook-timestamp` are sent with every scheme, because receivers recognise
//! repeats by the id.
//!
//! The table in code, with its sources, is [`signature_rule`](crate::model::signature_rule).

pub mod aws_signature;
pub mod key;
pub mod secret;
pub mod usable_secret;
pub mod verify;
pub mod webhook;

pub use secret::standard_key;
pub use secret::{SecretError, check_secret, generate_secret};

use crate::model::secrets::{RotatedKeys, SigningSecrets};
use crate::model::signature_rule::{KeyForm, SignatureEncoding};
use crate::model::signature_scheme::SignatureScheme;
use crate::model::webhook_source::template::{TemplatePiece, parse_template};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use key::SchemeKey;

/// The header with the delivery's id, which is the same at every attempt.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The header with the time of the attempt, in Unix seconds.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");

/// The delivery id cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the delivery id cannot be signed: use 1 to 255 visible ASCII characters without `.`")]
pub struct UnsignableId;

/// An endpoint's signature schemes with their prepared keys.
pub struct DeliverySigner {
    schemes: Vec<PreparedScheme>,
    keys: RotatedKeys<SchemeKey>,
}

impl std::fmt::Debug for DeliverySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliverySigner").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

impl DeliverySigner {
    /// Prepares the keys of an endpoint. Fails if a secret was stored without passing
    /// [`check_secret`].
    pub fn new(schemes: &[SignatureScheme], secrets: &SigningSecrets) -> Result<Self, SecretError> {
        let keys = RotatedKeys::prepare(secrets, |secret| SchemeKey::prepare(secret, schemes))?;
        let schemes = schemes.iter().map(|scheme| PreparedScheme::new(*scheme)).collect();
        Ok(Self { schemes, keys })
    }

    /// Returns the public key of the `ed25519` scheme as receivers configure it (`whpk_` and
    /// base64), or `None` if the endpoint does not use that scheme.
    pub fn public_key(&self) -> Option<String> {
        self.keys.current().ed25519().map(|pair| secret::public_key_text(&pair.verifying_key()))
    }

    /// Signs the attempt made at `at`: sets the id, the timestamp and the header of each scheme.
    ///
    /// `body` must be the exact bytes that are sent.
    pub fn sign(
        &self,
        id: &str,
        at: Timestamp,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), UnsignableId> {
        let timestamp = at.seconds().to_string();
        headers.insert(WEBHOOK_ID, id_value(id)?);
        headers.insert(WEBHOOK_TIMESTAMP, header_value(&timestamp));
        let mut valid = self.keys.valid_at(at);
        let keys = [valid.next(), valid.next()];
        let mut attempt = SignedAttempt {
            keys,
            id,
            timestamp: &timestamp,
            body,
            bare: None,
            list: String::new(),
        };
        for scheme in &self.schemes {
            attempt.sign(scheme, headers);
        }
        Ok(())
    }
}

/// A scheme with its header name and signed content parsed once.
#[derive(Debug)]
struct PreparedScheme {
    scheme: SignatureScheme,
    header: HeaderName,
    signed: Vec<TemplatePiece>,
}

impl PreparedScheme {
    fn new(scheme: SignatureScheme) -> Self {
        let rule = scheme.rule();
        Self {
            scheme,
            header: HeaderName::from_static(rule.header),
            signed: parse_template(rule.signed).unwrap_or_else(|_| vec![TemplatePiece::Body]),
        }
    }

    /// Whether the scheme signs only the body, with the secret as it is written. Several schemes
    /// do, so they share one signature.
    fn is_bare(&self) -> bool {
        self.scheme.rule().key == KeyForm::Text && self.signed == [TemplatePiece::Body]
    }
}

/// One attempt that is being signed.
struct SignedAttempt<'a> {
    /// Keys of the current secret and of the previous one, if it is still valid.
    keys: [Option<&'a SchemeKey>; 2],
    id: &'a str,
    timestamp: &'a str,
    body: &'a [u8],
    /// The hexadecimal signature of the body alone, once it has been computed.
    bare: Option<String>,
    /// The list of signatures that both schemes of Standard Webhooks share.
    list: String,
}

impl SignedAttempt<'_> {
    /// Sets a scheme's header.
    fn sign(&mut self, scheme: &PreparedScheme, headers: &mut HeaderMap) {
        let rule = scheme.scheme.rule();
        let value = match rule.part {
            Some(part) => {
                let mut text = format!("t={}", self.timestamp);
                for signature in self.signatures(scheme) {
                    text.extend([",", part, "=", &signature]);
                }
                HeaderValue::try_from(text)
            }
            None if rule.key == KeyForm::Standard => {
                for signature in self.signatures(scheme) {
                    if !self.list.is_empty() {
                        self.list.push(' ');
                    }
                    self.list.extend([rule.prefix, &signature]);
                }
                HeaderValue::from_str(&self.list)
            }
            None => {
                let signature = self.signatures(scheme).into_iter().next().unwrap_or_default();
                HeaderValue::try_from([rule.prefix, &signature].concat())
            }
        };
        if let Ok(value) = value {
            headers.insert(scheme.header.clone(), value);
        }
    }

    /// Returns the signatures of the valid secrets, the new one's first. Returns only the new one's
    /// if the header holds a single value.
    fn signatures(&mut self, scheme: &PreparedScheme) -> Vec<String> {
        if let Some(bare) = self.bare.as_ref().filter(|_| scheme.is_bare()) {
            return vec![bare.clone()];
        }
        let most = if scheme.scheme.takes_two_signatures() { 2 } else { 1 };
        let keys = self.keys.into_iter().flatten().take(most);
        let made: Vec<String> = keys.filter_map(|key| self.signature(key, scheme)).collect();
        if scheme.is_bare() {
            self.bare = made.first().cloned();
        }
        made
    }

    fn signature(&self, key: &SchemeKey, scheme: &PreparedScheme) -> Option<String> {
        let rule = scheme.scheme.rule();
        let signed: Vec<&[u8]> =
            scheme.signed.iter().map(|piece| self.signed_bytes(piece)).collect();
        let signature = match (scheme.scheme, rule.key) {
            (SignatureScheme::Ed25519, _) => {
                use ed25519_dalek::ed25519::signature::MultipartSigner as _;
                key.ed25519()?.multipart_sign(&signed).to_bytes().to_vec()
            }
            (_, KeyForm::Standard) => key.standard(&signed).to_vec(),
            _ => key.literal(&signed).to_vec(),
        };
        Some(match rule.encoding {
            SignatureEncoding::Hex => hex::encode(signature),
            SignatureEncoding::Base64 => BASE64.encode(signature),
        })
    }

    /// Returns the bytes of one piece of the signed content. No scheme for deliveries signs the
    /// address or a form.
    fn signed_bytes<'p>(&'p self, piece: &'p TemplatePiece) -> &'p [u8] {
        match piece {
            TemplatePiece::Text(text) => text.as_bytes(),
            TemplatePiece::Body => self.body,
            TemplatePiece::Timestamp => self.timestamp.as_bytes(),
            TemplatePiece::Id => self.id.as_bytes(),
            TemplatePiece::Url | TemplatePiece::Method | TemplatePiece::Form => &[],
        }
    }
}

/// Converts text of digits, letters and punctuation into a header value.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn id_value(id: &str) -> Result<HeaderValue, UnsignableId> {
    let fits = (1..=255).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if fits { HeaderValue::from_str(id).ok().ok_or(UnsignableId) } else { Err(UnsignableId) }
}

#[cfg(test)]
mod tests;
