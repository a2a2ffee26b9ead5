//! Secrets of modules, prepared for use in requests and as keys of HMACs.

use crate::model::module_secret::ModuleSecret;
use crate::model::secrets::SigningSecrets;
use crate::time::timestamp::Timestamp;
use ring::hmac;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Secrets by name.
pub type UsableSecrets = BTreeMap<String, Arc<UsableSecret>>;

/// A secret that modules use by name.
#[derive(Debug)]
pub struct UsableSecret {
    pub secret: ModuleSecret,
    /// The present value, and the previous one in its time of grace. `None` if the present key does
    /// not decrypt them.
    pub secrets: Option<SigningSecrets>,
}

/// The hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacHash {
    Sha1,
    Sha256,
    Sha512,
}

impl MacHash {
    const fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl UsableSecret {
    /// Whether the value cannot be decrypted with the present key.
    pub const fn is_locked(&self) -> bool {
        self.secrets.is_none()
    }

    /// Computes the HMAC of a message with the present value.
    pub fn sign(&self, hash: MacHash, message: &[u8]) -> Option<Vec<u8>> {
        let key = hmac::Key::new(hash.algorithm(), self.secrets.as_ref()?.current.as_bytes());
        Some(hmac::sign(&key, message).as_ref().to_vec())
    }

    /// Whether a text is the HMAC of a message, compared in constant time. The previous value
    /// counts too until its time of grace ends.
    pub fn verify(
        &self,
        hash: MacHash,
        message: &[u8],
        code: &[u8],
        now: Timestamp,
    ) -> Option<bool> {
        let secrets = self.secrets.as_ref()?;
        let graced = secrets.previous.as_ref().filter(|graced| now < graced.until);
        let values = [Some(secrets.current.as_str()), graced.map(|graced| graced.secret.as_str())];
        let fits = values.into_iter().flatten().map(|value| {
            let key = hmac::Key::new(hash.algorithm(), value.as_bytes());
            hmac::verify(&key, message, code).is_ok()
        });
        // Both are compared, so that the time does not reveal which one matches.
        Some(fits.fold(false, |any, fits| any | fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::ModuleSecretId;
    use crate::model::module_secret::ModuleSecretSettings;
    use crate::model::secrets::GracedSecret;

    fn secret() -> UsableSecret {
        let settings = ModuleSecretSettings {
            name: "key".to_owned(),
            hosts: Vec::new(),
            header: None,
            prefix: None,
            query: None,
        };
        let now = Timestamp::from_micros(0);
        let id = ModuleSecretId::generate();
        let secret = ModuleSecret { id, settings, created_at: now, updated_at: now };
        let previous = GracedSecret { secret: "old".to_owned(), until: Timestamp::from_micros(10) };
        let secrets = SigningSecrets { current: "key".to_owned(), previous: Some(previous) };
        UsableSecret { secret, secrets: Some(secrets) }
    }

    #[test]
    fn the_old_value_verifies_until_its_grace_ends_and_never_signs() {
        let message = b"The quick brown fox jumps over the lazy dog";
        let signed = secret().sign(MacHash::Sha256, message).unwrap();
        // The example of Wikipedia's article "HMAC".
        let expected = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(hex::encode(&signed), expected);
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"old");
        let old = hmac::sign(&key, message);
        let verify = |code: &[u8], at| {
            secret().verify(MacHash::Sha256, message, code, Timestamp::from_micros(at))
        };
        assert_eq!(verify(&signed, 99), Some(true));
        assert_eq!(verify(old.as_ref(), 9), Some(true));
        assert_eq!(verify(old.as_ref(), 10), Some(false));
        assert_eq!(verify(b"", 9), Some(false));
        let locked = UsableSecret { secrets: None, ..secret() };
        assert_eq!(locked.sign(MacHash::Sha1, message), None);
    }
}
