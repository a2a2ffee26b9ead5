//! A secret prepared for signing: HMAC states that have the key already mixed in.

use super::scheme::Scheme;
use super::secret::{SecretError, private_key, standard_key};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What derives an ed25519 key pair from a secret that is none: the message that the secret signs. Never to be changed.
const DERIVATION: &[u8] = b"waybill ed25519 signing key v1";

/// A secret in each form that schemes read.
pub(super) struct Key {
    literal: Hmac<Sha256>,
    standard: Hmac<Sha256>,
    ed25519: Option<Box<SigningKey>>,
}

impl Key {
    /// Prepares what the schemes need; the ed25519 pair, which costs most, only for its own scheme.
    pub(super) fn prepare(secret: &str, schemes: &[Scheme]) -> Result<Self, SecretError> {
        let standard = mac(&standard_key(secret)?);
        let ed25519 = if schemes.contains(&Scheme::Ed25519) {
            Some(Box::new(key_pair(secret)?))
        } else {
            None
        };
        Ok(Self { literal: mac(secret.as_bytes()), standard, ed25519 })
    }

    /// HMAC-SHA256 with the secret as it is written.
    pub(super) fn literal(&self, parts: &[&[u8]]) -> [u8; 32] {
        digest(&self.literal, parts)
    }

    /// HMAC-SHA256 with the secret as Standard Webhooks reads it.
    pub(super) fn standard(&self, parts: &[&[u8]]) -> [u8; 32] {
        digest(&self.standard, parts)
    }

    /// The ed25519 key pair.
    pub(super) fn ed25519(&self) -> Option<&SigningKey> {
        self.ed25519.as_deref()
    }
}

/// The key pair that signs for a secret: its own where it is a `whsk_` key, else one derived from it, so that every
/// endpoint can sign this way and a rotation rotates this too.
pub(super) fn key_pair(secret: &str) -> Result<SigningKey, SecretError> {
    if let Some(own) = private_key(secret)? {
        return Ok(own);
    }
    Ok(SigningKey::from_bytes(&digest(&mac(&standard_key(secret)?), &[DERIVATION])))
}

/// The HMAC state of a key.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104, section 2)")]
pub(crate) fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// The HMAC of the parts, one after the other.
pub(crate) fn digest(mac: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
