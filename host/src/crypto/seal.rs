//! Encrypting what must not be read from the database: secrets, the values of endpoints' headers
//! and URLs, the configuration of modules.
//!
//! XChaCha20-Poly1305 with a random nonce. The key is derived from `WAYBILL_SECRET_KEY`; without it
//! a key file is made beside the database, readable by its owner only. Whoever loses the key loses
//! the secrets, and nothing else.

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

/// Encrypts and decrypts.
#[derive(Clone)]
pub struct SecretSealer {
    cipher: XChaCha20Poly1305,
    mac_key: [u8; 32],
    grant_key: [u8; 32],
    guest_key: [u8; 32],
    next: Option<Arc<NextKey>>,
}

/// The key that takes the place of the present one, while it is being changed.
struct NextKey {
    sealer: SecretSealer,
    /// Whether something was found that it has encrypted: from then on it encrypts.
    is_in_use: AtomicBool,
}

impl std::fmt::Debug for SecretSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(hidden)")
    }
}

/// Why there is no key, or something cannot be read with it.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error(
        "the key file {path} cannot be read or made: {source}; set WAYBILL_SECRET_KEY, or make its folder writable"
    )]
    KeyFile {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The stored text was sealed with another key, or changed.
    #[error(
        "a stored secret cannot be read with this key: start with the WAYBILL_SECRET_KEY or key file it was stored with"
    )]
    WrongKey,
}

impl SecretSealer {
    /// A sealer whose key is derived from `secret`.
    pub fn from_secret(secret: &SecretString) -> Self {
        Self::from_bytes(secret.expose_secret().as_bytes())
    }

    /// A sealer with the key in `path`; made if the file is not there.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::KeyFile { path: path.display().to_string(), source };
        private_file::protect_file(path).map_err(failed)?;
        match std::fs::read(path) {
            Ok(bytes) if bytes.trim_ascii().len() >= 32 => Ok(Self::from_bytes(bytes.trim_ascii())),
            Ok(_) => Err(failed(std::io::Error::other("it is too short to be a key"))),
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

    /// The same, which reads too what is encrypted with the key that comes next. It encrypts with
    /// that key as soon as it has read anything so: whoever changes the key encrypts everything
    /// anew in one transaction.
    #[must_use]
    pub fn with_next(self, next: Self) -> Self {
        let next = NextKey { sealer: next, is_in_use: AtomicBool::new(false) };
        Self { next: Some(Arc::new(next)), ..self }
    }

    /// The mark of the key that comes next, if there is one.
    pub fn next_key_mark(&self) -> Option<ShortDigest> {
        self.next.as_ref().map(|next| next.sealer.key_mark())
    }

    /// The key that guards the cache of compiled modules.
    pub const fn mac_key(&self) -> [u8; 32] {
        self.mac_key
    }

    /// The key that marks short-lived tokens.
    pub const fn grant_key(&self) -> [u8; 32] {
        self.grant_key
    }

    /// By what others see whether they have the same key. Nothing of the key follows from it.
    pub fn key_mark(&self) -> ShortDigest {
        ShortDigest::of([b"waybill key mark v1".as_slice(), self.grant_key.as_slice()])
    }

    /// The key that modules' random numbers follow from.
    pub const fn guest_key(&self) -> [u8; 32] {
        self.guest_key
    }

    /// Encrypts `plain`; only the same `context` opens it.
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

    /// Decrypts what [`Self::seal`] made, with either key.
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
    fn only_the_same_key_and_context_open() {
        let sealer = SecretSealer::from_secret(&"one".into());
        let text = sealer.seal(b"whsec_x", b"end_1").unwrap();
        assert!(!text.windows(7).any(|w| w == b"whsec_x"));
        assert_eq!(sealer.open(&text, b"end_1").unwrap(), b"whsec_x");
        assert!(sealer.open(&text, b"end_2").is_err());
        assert!(SecretSealer::from_secret(&"two".into()).open(&text, b"end_1").is_err());
    }

    #[test]
    fn the_next_key_encrypts_once_something_of_it_was_found() {
        let (old, new) =
            (SecretSealer::from_secret(&"one".into()), SecretSealer::from_secret(&"two".into()));
        let both = old.clone().with_next(new.clone());
        let text = both.seal(b"x", b"").unwrap();
        assert_eq!(old.open(&text, b"").unwrap(), b"x", "others do not know the next one yet");
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
        assert_eq!(mode(), 0o600, "a looser one is mended");
    }
}
