//! Encrypts values that nobody may read from the database: secrets, the values of endpoints'
//! headers and URLs, and the configuration of modules.
//!
//! The cipher is XChaCha20-Poly1305 with a random nonce. The key is derived from
//! `WAYBILL_SECRET_KEY`. Without that variable, a key file is created beside the database that only
//! its owner may read. If the key is lost, the encrypted values are lost, and nothing else.

use crate::crypto::digest::ShortDigest;
use crate::crypto::private_file;
use crate::crypto::sha256;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Length of a nonce, in bytes.
const NONCE: usize = 24;

/// Encrypts and decrypts secrets. Holds the other keys that are derived from the same secret.
#[derive(Clone)]
pub struct SecretSealer {
    cipher: XChaCha20Poly1305,
    mac_key: [u8; 32],
    grant_key: [u8; 32],
    guest_key: [u8; 32],
    next: Option<Arc<NextKey>>,
}

/// The key that replaces the current one, while the key is being changed.
struct NextKey {
    sealer: SecretSealer,
    /// Whether a value was read that this key had encrypted. From then on this key encrypts.
    is_in_use: AtomicBool,
}

impl std::fmt::Debug for SecretSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSealer(hidden)")
    }
}

/// Why the key cannot be loaded, or a value cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or created.
    #[error(
        "the key file {path} cannot be read or created: {source}; set WAYBILL_SECRET_KEY, or make its folder readable and writable"
    )]
    KeyFile {
        /// Path of the file.
        path: String,
        /// Why it cannot be read or created.
        source: std::io::Error,
    },
    /// The stored value was encrypted with another key or another context, or was changed.
    #[error(
        "a stored secret cannot be read with this key: start with the WAYBILL_SECRET_KEY or key file it was stored with"
    )]
    WrongKey,
}

impl SecretSealer {
    /// Creates a sealer with a key that is derived from `secret`.
    pub fn from_secret(secret: &SecretString) -> Self {
        Self::from_bytes(secret.expose_secret().as_bytes())
    }

    /// Creates a sealer with the key in the file `path`. Creates the file with a random key if it
    /// does not exist.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::KeyFile { path: path.display().to_string(), source };
        private_file::protect_file(path).map_err(failed)?;
        match std::fs::read(path) {
            Ok(bytes) if bytes.trim_ascii().len() >= 32 => Ok(Self::from_bytes(bytes.trim_ascii())),
            Ok(_) => Err(failed(std::io::Error::other(
                "the file is too short to be a key; it needs 32 characters",
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = hex::encode(rand::random::<[u8; 32]>());
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                Ok(Self::from_bytes(text.as_bytes()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn from_bytes(secret: &[u8]) -> Self {
        let derive =
            |purpose: &str| -> [u8; 32] { sha256::sha256_digest(&[purpose.as_bytes(), secret]) };
        let cipher = XChaCha20Poly1305::new(&derive("waybill seal 1\n").into());
        Self {
            cipher,
            mac_key: derive("waybill module cache 1\n"),
            grant_key: derive("waybill grant 1\n"),
            guest_key: derive("waybill guest randomness 1\n"),
            next: None,
        }
    }

    /// Returns a sealer that can also decrypt values of the key `next`. As soon as it has decrypted
    /// one, it encrypts with `next` too, because a change of the key re-encrypts everything in one
    /// transaction.
    #[must_use]
    pub fn with_next(self, next: Self) -> Self {
        let next = NextKey { sealer: next, is_in_use: AtomicBool::new(false) };
        Self { next: Some(Arc::new(next)), ..self }
    }

    /// Returns the mark of the next key, if the key is being changed.
    pub fn next_key_mark(&self) -> Option<ShortDigest> {
        self.next.as_ref().map(|next| next.sealer.key_mark())
    }

    /// Returns the key that authenticates the cache of compiled modules.
    pub const fn mac_key(&self) -> [u8; 32] {
        self.mac_key
    }

    /// Returns the key that authenticates short-lived tokens.
    pub const fn grant_key(&self) -> [u8; 32] {
        self.grant_key
    }

    /// Returns a mark by which nodes see whether they have the same key. It reveals nothing about
    /// the key.
    pub fn key_mark(&self) -> ShortDigest {
        ShortDigest::of([b"waybill key mark v1".as_slice(), self.grant_key.as_slice()])
    }

    /// Returns the key from which the random numbers of modules are derived.
    pub const fn guest_key(&self) -> [u8; 32] {
        self.guest_key
    }

    /// Encrypts `plain`. Only a call of [`Self::open`] with the same `context` can decrypt it.
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        match self.next.as_ref().filter(|next| next.is_in_use.load(Ordering::Relaxed)) {
            Some(next) => next.sealer.seal_alone(plain, context),
            None => self.seal_alone(plain, context),
        }
    }

    fn seal_alone(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: plain, aad: context };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_opaque| SealError::WrongKey)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts a value that [`Self::seal`] encrypted with the current key or the next one.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let opened = self.open_alone(sealed, context);
        let (Err(SealError::WrongKey), Some(next)) = (&opened, &self.next) else { return opened };
        let opened = next.sealer.open_alone(sealed, context)?;
        next.is_in_use.store(true, Ordering::Relaxed);
        Ok(opened)
    }

    fn open_alone(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(SealError::WrongKey)?;
        let payload = Payload { msg: text, aad: context };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_opaque| SealError::WrongKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_the_same_key_and_context_decrypt() {
        let sealer = SecretSealer::from_secret(&"one".into());
        let text = sealer.seal(b"whsec_x", b"end_1").unwrap();
        assert!(!text.windows(7).any(|w| w == b"whsec_x"));
        assert_eq!(sealer.open(&text, b"end_1").unwrap(), b"whsec_x");
        assert!(sealer.open(&text, b"end_2").is_err());
        assert!(SecretSealer::from_secret(&"two".into()).open(&text, b"end_1").is_err());
    }

    #[test]
    fn the_next_key_encrypts_once_a_value_of_it_was_read() {
        let (old, new) =
            (SecretSealer::from_secret(&"one".into()), SecretSealer::from_secret(&"two".into()));
        let both = old.clone().with_next(new.clone());
        let text = both.seal(b"x", b"").unwrap();
        assert_eq!(old.open(&text, b"").unwrap(), b"x", "other nodes do not have the next key yet");
        assert_eq!(both.next_key_mark(), Some(new.key_mark()));
        assert_eq!(both.open(&new.seal(b"y", b"").unwrap(), b"").unwrap(), b"y");
        assert_eq!(new.open(&both.seal(b"z", b"").unwrap(), b"").unwrap(), b"z");
        assert_eq!(both.open(&text, b"").unwrap(), b"x");
        let third = SecretSealer::from_secret(&"three".into()).seal(b"x", b"").unwrap();
        assert!(both.open(&third, b"").is_err());
    }

    #[test]
    fn a_key_file_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waybill.key");
        let sealed = SecretSealer::from_file(&path).unwrap().seal(b"x", b"").unwrap();
        assert_eq!(SecretSealer::from_file(&path).unwrap().open(&sealed, b"").unwrap(), b"x");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(SecretSealer::from_file(&path).unwrap().open(&sealed, b"").unwrap(), b"x");
        assert_eq!(mode(), 0o600, "looser permissions are corrected");
    }
}
