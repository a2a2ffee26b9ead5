//! Signatures of deliveries: several schemes on one request, made anew at every attempt.
//!
//! A [`DeliverySigner`] is prepared once for an endpoint and holds its key in each form that its
//! schemes read. How a scheme reads the secret is a property of the scheme and never guessed from
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
//! While a rotated secret has its grace, headers that are lists (`standard`, `ed25519`, `stripe`)
//! hold the signatures of both, the new one first. The others hold one value only, which is the new
//! secret's: their receivers have to know it before it is rotated in.
//!
//! `webhook-id` and `webhook-timestamp` are sent with every scheme, as receivers recognise repeats
//! by the id.
//!
//! Sources: Standard Webhooks 1.0 (`spec/standard-webhooks.md`), GitHub "Validating webhook
//! deliveries", stripe-node `Webhooks.ts`, the vendors' pages for the two Perfex forms.

pub mod key;
pub mod secret;
pub mod verify;

use crate::model::signature_scheme::SignatureScheme;
pub use secret::standard_key;
pub use secret::{SecretError, check_secret, generate_secret};

use crate::model::secrets::{RotatedKeys, SigningSecrets};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use key::SchemeKey;

/// The delivery's id, the same at every attempt.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The time of the attempt in Unix seconds.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The list of Standard Webhooks signatures.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// The vendor's documented header.
pub const PERFEXAPI_SIGNATURE: HeaderName = HeaderName::from_static("x-perfexapi-signature");
/// The header that the vendor's n8n node reads.
pub const WEBHOOK_HEX_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
/// Stripe's.
pub const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
/// GitHub's.
pub const GITHUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
/// Themesic's.
pub const THEMESIC_SIGNATURE: HeaderName = HeaderName::from_static("x-perfex-signature");

/// The id cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery id that is signed has 1 to 255 visible ASCII characters and no `.`")]
pub struct InvalidId;

/// An endpoint's schemes and prepared keys.
pub struct DeliverySigner {
    schemes: Vec<SignatureScheme>,
    keys: RotatedKeys<SchemeKey>,
}

impl std::fmt::Debug for DeliverySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

impl DeliverySigner {
    /// Prepares the keys of an endpoint. An error means a secret that was stored without
    /// [`check_secret`].
    pub fn new(schemes: &[SignatureScheme], secrets: &SigningSecrets) -> Result<Self, SecretError> {
        let keys = RotatedKeys::prepare(secrets, |secret| SchemeKey::prepare(secret, schemes))?;
        Ok(Self { schemes: schemes.to_vec(), keys })
    }

    /// The public key of the `ed25519` scheme as receivers configure it (`whpk_` and base64), where
    /// that scheme is used.
    pub fn public_key(&self) -> Option<String> {
        self.keys.current().ed25519().map(|pair| secret::public_key_text(&pair.verifying_key()))
    }

    /// Signs one attempt made at `at`: sets the id, the timestamp and each scheme's header.
    ///
    /// `body` is what is sent, byte for byte.
    pub fn sign(
        &self,
        id: &str,
        at: Timestamp,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), InvalidId> {
        let timestamp = at.seconds().to_string();
        headers.insert(WEBHOOK_ID, id_value(id)?);
        headers.insert(WEBHOOK_TIMESTAMP, header_value(&timestamp));
        let mut valid = self.keys.valid_at(at);
        let keys = [valid.next(), valid.next()];
        let attempt = SignedAttempt { keys, id, timestamp: &timestamp, body, bare: None };
        attempt.sign(&self.schemes, headers);
        Ok(())
    }
}

struct SignedAttempt<'a> {
    keys: [Option<&'a SchemeKey>; 2],
    id: &'a str,
    timestamp: &'a str,
    body: &'a [u8],
    /// The hex signature of the body alone, which several schemes carry.
    bare: Option<HeaderValue>,
}

impl SignedAttempt<'_> {
    fn sign(mut self, schemes: &[SignatureScheme], headers: &mut HeaderMap) {
        let mut list = String::new();
        for scheme in schemes {
            match scheme {
                SignatureScheme::Standard => self.append_standard(&mut list),
                SignatureScheme::Ed25519 => self.append_ed25519(&mut list),
                SignatureScheme::PerfexApi => set_header(headers, PERFEXAPI_SIGNATURE, self.bare()),
                SignatureScheme::Webhook => set_header(headers, WEBHOOK_HEX_SIGNATURE, self.bare()),
                SignatureScheme::Github => set_header(headers, GITHUB_SIGNATURE, self.github()),
                SignatureScheme::Stripe => {
                    set_header(headers, STRIPE_SIGNATURE, self.timed(self.keys));
                }
                SignatureScheme::Themesic => {
                    let [current, _] = self.keys;
                    set_header(headers, THEMESIC_SIGNATURE, self.timed([current, None]));
                }
            }
        }
        if !list.is_empty() {
            set_header(headers, WEBHOOK_SIGNATURE, HeaderValue::try_from(list).ok());
        }
    }

    fn append_standard(&self, list: &mut String) {
        for key in self.keys.into_iter().flatten() {
            separate(list, "v1,");
            BASE64.encode_string(key.standard(&self.standard_content()), list);
        }
    }

    fn append_ed25519(&self, list: &mut String) {
        for pair in self.keys.into_iter().flatten().filter_map(SchemeKey::ed25519) {
            use ed25519_dalek::ed25519::signature::MultipartSigner as _;
            separate(list, "v1a,");
            BASE64.encode_string(pair.multipart_sign(&self.standard_content()).to_bytes(), list);
        }
    }

    fn standard_content(&self) -> [&[u8]; 5] {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", self.body]
    }

    fn bare(&mut self) -> Option<HeaderValue> {
        if self.bare.is_none() {
            let [current, _] = self.keys;
            self.bare = current.map(|key| header_value(hex_of(key.literal(&[self.body])).as_str()));
        }
        self.bare.clone()
    }

    fn github(&mut self) -> Option<HeaderValue> {
        let bare = self.bare()?;
        HeaderValue::try_from(format!("sha256={}", bare.to_str().ok()?)).ok()
    }

    fn timed(&self, keys: [Option<&SchemeKey>; 2]) -> Option<HeaderValue> {
        let mut text = format!("t={}", self.timestamp);
        for key in keys.into_iter().flatten() {
            text.push_str(",v1=");
            let digest = key.literal(&[self.timestamp.as_bytes(), b".", self.body]);
            text.push_str(&hex_of(digest));
        }
        HeaderValue::try_from(text).ok()
    }
}

fn set_header(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn separate(list: &mut String, version: &str) {
    if !list.is_empty() {
        list.push(' ');
    }
    list.push_str(version);
}

fn hex_of(digest: [u8; 32]) -> String {
    hex::encode(digest)
}

/// A header value of text that is made of digits, letters and punctuation.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn id_value(id: &str) -> Result<HeaderValue, InvalidId> {
    let fits = (1..=255).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if fits { HeaderValue::from_str(id).ok().ok_or(InvalidId) } else { Err(InvalidId) }
}

#[cfg(test)]
mod tests;
pub mod webhook;
