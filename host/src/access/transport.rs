//! Secrets on their way from one server to another: encrypted with a passphrase.
//!
//! XChaCha20-Poly1305 under a key that Argon2id derives from the passphrase, with the parameters
//! that RFC 9106 (section 4) recommends where memory is bounded: 64 MiB, 3 passes, 4 lanes. They
//! are part of the form, so that nobody can make a server take more.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret as _, SecretString};

/// Begins every text of this form, and is authenticated with it.
const FORM: &str = "waybill-secrets-1.";
/// Fewest characters of a passphrase.
pub const SHORTEST_PASSPHRASE: usize = 12;
const SALT: usize = 16;
const NONCE: usize = 24;
/// KiB of memory, passes and lanes.
const COST: (u32, u32, u32) = (64 * 1024, 3, 4);

/// Why there is no text, or it cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The passphrase is too short.
    #[error("a passphrase has at least {SHORTEST_PASSPHRASE} characters")]
    ShortPassphrase,
    /// The text is not of this form.
    #[error("these are not secrets that an export encrypted; they begin with `{FORM}`")]
    Form,
    /// The passphrase is another, or the text was changed.
    #[error("the passphrase does not open these secrets")]
    Passphrase,
    /// The key cannot be derived, for lack of memory.
    #[error("there is not enough memory to derive the key")]
    Memory,
}

/// Encrypts for whoever knows the passphrase. Takes 64 MiB and about a tenth of a second.
pub fn encrypt_text(plain: &[u8], passphrase: &SecretString) -> Result<String, TransportError> {
    let salt = rand::random::<[u8; SALT]>();
    let nonce = rand::random::<[u8; NONCE]>();
    let payload = Payload { msg: plain, aad: FORM.as_bytes() };
    let cipher = derive_cipher(passphrase, &salt)?;
    let sealed =
        cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_opaque| TransportError::Memory)?;
    let bytes = [&salt[..], &nonce[..], &sealed].concat();
    Ok(format!("{FORM}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// Decrypts what [`encrypt_text`] made.
pub fn decrypt_text(text: &str, passphrase: &SecretString) -> Result<Vec<u8>, TransportError> {
    let text = text.trim().strip_prefix(FORM).ok_or(TransportError::Form)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_unreadable| TransportError::Form)?;
    let (salt, rest) = bytes.split_first_chunk::<SALT>().ok_or(TransportError::Form)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(TransportError::Form)?;
    let payload = Payload { msg: sealed, aad: FORM.as_bytes() };
    let cipher = derive_cipher(passphrase, salt)?;
    cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_opaque| TransportError::Passphrase)
}

fn derive_cipher(
    passphrase: &SecretString,
    salt: &[u8],
) -> Result<XChaCha20Poly1305, TransportError> {
    let passphrase = passphrase.expose_secret();
    if passphrase.chars().count() < SHORTEST_PASSPHRASE {
        return Err(TransportError::ShortPassphrase);
    }
    let (memory, passes, lanes) = COST;
    let mut key = [0; 32];
    Params::new(memory, passes, lanes, Some(key.len()))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                passphrase.as_bytes(),
                salt,
                &mut key,
            )
        })
        .map_err(|_opaque| TransportError::Memory)?;
    Ok(XChaCha20Poly1305::new(&key.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_opens_it() {
        let right: SecretString = "correct horse battery".into();
        let text = encrypt_text(b"whsec_x", &right).unwrap();
        assert!(text.starts_with(FORM) && !text.contains("whsec_x"));
        assert_eq!(decrypt_text(&text, &right).unwrap(), b"whsec_x");
        assert_eq!(
            decrypt_text(&text, &"correct horse batterz".into()),
            Err(TransportError::Passphrase)
        );
        let changed = text.replacen(|c: char| c.is_ascii_uppercase(), "_", 1);
        assert_ne!(decrypt_text(&changed, &right), Ok(b"whsec_x".to_vec()));
        assert_eq!(decrypt_text("whsec_x", &right), Err(TransportError::Form));
        assert_eq!(encrypt_text(b"x", &"short".into()), Err(TransportError::ShortPassphrase));
    }
}
