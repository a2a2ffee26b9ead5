//! Encrypts secrets with a passphrase, to move them from one server to another.
//!
//! XChaCha20-Poly1305 with a key that Argon2id derives from the passphrase. The parameters are
//! those that RFC 9106 (section 4) recommends if memory is limited: 64 MiB, 3 passes, 4 lanes. They
//! are fixed for this format, so an export cannot make a server use more memory or time.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret as _, SecretString};

/// The prefix of every encrypted text. It is authenticated together with the content.
const FORM: &str = "waybill-secrets-1.";
/// Shortest passphrase, in characters.
pub const SHORTEST_PASSPHRASE: usize = 12;
const SALT: usize = 16;
const NONCE: usize = 24;
/// Cost of the key derivation: KiB of memory, passes, lanes.
const COST: (u32, u32, u32) = (64 * 1024, 3, 4);

/// The reason why encryption or decryption failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The passphrase is too short.
    #[error("the passphrase is too short: use at least {SHORTEST_PASSPHRASE} characters")]
    ShortPassphrase,
    /// The text was not encrypted by an export.
    #[error("the secrets were not encrypted by an export: such a text begins with `{FORM}`")]
    Form,
    /// The passphrase is wrong, or the text was changed.
    #[error("the passphrase does not open these secrets: it is wrong, or the text was changed")]
    Passphrase,
    /// There is not enough memory to derive the key.
    #[error("there is not enough memory to derive the key (64 MiB): free memory and try again")]
    Memory,
}

/// Encrypts `plain` with a passphrase. Takes 64 MiB of memory and about a tenth of a second.
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

/// Decrypts a text that [`encrypt_text`] made.
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
    fn only_the_right_passphrase_decrypts() {
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
