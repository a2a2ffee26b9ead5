//! Prepares a secret for signing, in each form that a scheme reads.

use super::secret::{SecretError, private_key, standard_key};
use crate::crypto::sha256::MacKey;
use crate::model::signature_scheme::SignatureScheme;
use ed25519_dalek::SigningKey;

/// The message that a secret signs to derive an ed25519 key pair, unless the secret is itself an
/// ed25519 key. Changing it would change the public keys that receivers have configured.
const DERIVATION: &[u8] = b"waybill ed25519 signing key v1";

/// A secret in each form that the schemes read.
pub struct SchemeKey {
    literal: MacKey,
    standard: MacKey,
    ed25519: Option<Box<SigningKey>>,
}

impl SchemeKey {
    /// Prepares the forms that the schemes need. The ed25519 pair costs most, so it is only made
    /// for its own scheme.
    pub fn prepare(secret: &str, schemes: &[SignatureScheme]) -> Result<Self, SecretError> {
        let standard = MacKey::new(&standard_key(secret)?);
        let ed25519 = if schemes.contains(&SignatureScheme::Ed25519) {
            Some(Box::new(key_pair(secret)?))
        } else {
            None
        };
        Ok(Self { literal: MacKey::new(secret.as_bytes()), standard, ed25519 })
    }

    /// Computes the HMAC-SHA256 of the parts, with the secret as it is written.
    pub fn literal(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.literal.of(parts)
    }

    /// Computes the HMAC-SHA256 of the parts, with the secret as Standard Webhooks reads it.
    pub fn standard(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.standard.of(parts)
    }

    /// Returns the ed25519 key pair, if the endpoint uses that scheme.
    pub fn ed25519(&self) -> Option<&SigningKey> {
        self.ed25519.as_deref()
    }
}

/// Returns the ed25519 key pair of a secret. A `whsk_` key is its own pair. For any other secret
/// the pair is derived, so every endpoint can use this scheme, and rotating the secret also rotates
/// the pair.
pub fn key_pair(secret: &str) -> Result<SigningKey, SecretError> {
    if let Some(own) = private_key(secret)? {
        return Ok(own);
    }
    Ok(SigningKey::from_bytes(&MacKey::new(&standard_key(secret)?).of(&[DERIVATION])))
}
