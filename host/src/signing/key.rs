//! A secret prepared for signing, in each form that a scheme reads.

use super::secret::{SecretError, private_key, standard_key};
use crate::crypto::sha256::MacKey;
use crate::model::signature_scheme::SignatureScheme;
use ed25519_dalek::SigningKey;

/// What derives an ed25519 key pair from a secret that is none: the message that the secret signs.
/// Never to be changed.
const DERIVATION: &[u8] = b"waybill ed25519 signing key v1";

/// A secret in each form that schemes read.
pub struct SchemeKey {
    literal: MacKey,
    standard: MacKey,
    ed25519: Option<Box<SigningKey>>,
}

impl SchemeKey {
    /// Prepares what the schemes need; the ed25519 pair, which costs most, only for its own scheme.
    pub fn prepare(secret: &str, schemes: &[SignatureScheme]) -> Result<Self, SecretError> {
        let standard = MacKey::new(&standard_key(secret)?);
        let ed25519 = if schemes.contains(&SignatureScheme::Ed25519) {
            Some(Box::new(key_pair(secret)?))
        } else {
            None
        };
        Ok(Self { literal: MacKey::new(secret.as_bytes()), standard, ed25519 })
    }

    /// HMAC-SHA256 with the secret as it is written.
    pub fn literal(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.literal.of(parts)
    }

    /// HMAC-SHA256 with the secret as Standard Webhooks reads it.
    pub fn standard(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.standard.of(parts)
    }

    /// The ed25519 key pair.
    pub fn ed25519(&self) -> Option<&SigningKey> {
        self.ed25519.as_deref()
    }
}

/// The key pair that signs for a secret: its own where it is a `whsk_` key, else one derived from
/// it, so that every endpoint can sign this way and a rotation rotates this too.
pub fn key_pair(secret: &str) -> Result<SigningKey, SecretError> {
    if let Some(own) = private_key(secret)? {
        return Ok(own);
    }
    Ok(SigningKey::from_bytes(&MacKey::new(&standard_key(secret)?).of(&[DERIVATION])))
}
