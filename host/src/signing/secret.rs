//! Checks, generates and decodes signing secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{SigningKey, VerifyingKey};
use rand::CryptoRng;

/// Prefix of a symmetric Standard Webhooks secret. The base64 of the key follows.
pub const SYMMETRIC: &str = "whsec_";
/// Prefix of an ed25519 private key. The base64 of its 32 bytes follows, or of these and the 32
/// bytes of its public key.
pub const PRIVATE: &str = "whsk_";
/// Prefix of an ed25519 public key. The base64 of its 32 bytes follows.
pub const PUBLIC: &str = "whpk_";

/// Allowed length of a symmetric key, in bytes (Standard Webhooks 1.0).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Allowed length of a secret without a known prefix, in characters.
const TEXT_CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// The reason why a text cannot be a secret. The message never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A secret without a known prefix is too short or too long.
    #[error(
        "the secret has {chars} characters; it must have 16 to 256, or be `whsec_` and the base64 of 24 to 64 random bytes"
    )]
    TextLength {
        /// Length of the text, in characters.
        chars: usize,
    },
    /// The secret contains a control character, or begins or ends with white space, which copying
    /// often leaves.
    #[error("the secret has a control character, or white space at its start or end; remove it")]
    Unprintable,
    /// The text after the prefix does not decode.
    #[error(
        "the text after `{prefix}` in the secret is not padded standard base64 (RFC 4648, section 4)"
    )]
    Base64 { prefix: &'static str },
    /// The decoded symmetric key is too short or too long.
    #[error("the key after `whsec_` is {bytes} bytes long; it must be 24 to 64 bytes")]
    KeyLength {
        /// Length of the decoded key, in bytes.
        bytes: usize,
    },
    /// The decoded key is not an ed25519 private key.
    #[error(
        "the key after `whsk_` is {bytes} bytes long; an ed25519 private key is 32 bytes, or 64 bytes with its public key appended"
    )]
    PrivateKey {
        /// Length of the decoded key, in bytes.
        bytes: usize,
    },
    /// The secret is a public key, which cannot sign.
    #[error(
        "a `whpk_` key is a public key and cannot sign; use the `whsk_` key or a `whsec_` secret"
    )]
    PublicKey,
}

/// Checks that endpoints can sign with a secret: `whsec_` and the base64 of 24 to 64 bytes, `whsk_`
/// and an ed25519 private key, or any other 16 to 256 printable characters without white space at
/// either end.
pub fn check_secret(secret: &str) -> Result<(), SecretError> {
    if secret.starts_with(PUBLIC) {
        return Err(SecretError::PublicKey);
    }
    let printable = secret.trim().len() == secret.len() && !secret.chars().any(char::is_control);
    if !printable {
        return Err(SecretError::Unprintable);
    }
    if secret.starts_with(PRIVATE) {
        return private_key(secret).map(drop);
    }
    if secret.starts_with(SYMMETRIC) {
        let bytes = standard_key(secret)?.len();
        return if KEY_BYTES.contains(&bytes) {
            Ok(())
        } else {
            Err(SecretError::KeyLength { bytes })
        };
    }
    let chars = secret.chars().count();
    if TEXT_CHARS.contains(&chars) { Ok(()) } else { Err(SecretError::TextLength { chars }) }
}

/// Generates a secret: `whsec_` and the base64 of 32 random bytes.
pub fn generate_secret<R: CryptoRng + ?Sized>(random: &mut R) -> String {
    let mut key = [0; 32];
    random.fill_bytes(&mut key);
    format!("{SYMMETRIC}{}", BASE64.encode(key))
}

/// Returns the key bytes as Standard Webhooks reads a secret: decoded from base64 after `whsec_`,
/// otherwise the bytes of the text.
pub fn standard_key(secret: &str) -> Result<Vec<u8>, SecretError> {
    match secret.strip_prefix(SYMMETRIC) {
        Some(encoded) => decode_secret(encoded, SYMMETRIC),
        None => Ok(secret.as_bytes().to_vec()),
    }
}

/// Returns the key pair of a `whsk_` secret, or `None` for any other secret.
pub fn private_key(secret: &str) -> Result<Option<SigningKey>, SecretError> {
    let Some(encoded) = secret.strip_prefix(PRIVATE) else { return Ok(None) };
    let bytes = decode_secret(encoded, PRIVATE)?;
    let wrong = SecretError::PrivateKey { bytes: bytes.len() };
    let seed = bytes.as_array::<32>().map(SigningKey::from_bytes);
    let pair = || SigningKey::from_keypair_bytes(bytes.as_array::<64>()?).ok();
    seed.or_else(pair).map(Some).ok_or(wrong)
}

/// Formats a public key as receivers configure it.
pub fn public_key_text(key: &VerifyingKey) -> String {
    format!("{PUBLIC}{}", BASE64.encode(key.as_bytes()))
}

/// Reads a public key in the format of [`public_key_text`].
pub fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes = BASE64.decode(text.strip_prefix(PUBLIC)?).ok()?;
    VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()
}

fn decode_secret(encoded: &str, prefix: &'static str) -> Result<Vec<u8>, SecretError> {
    BASE64.decode(encoded).ok().ok_or(SecretError::Base64 { prefix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn whsec(bytes: usize) -> String {
        format!("whsec_{}", BASE64.encode(vec![7; bytes]))
    }

    #[test]
    fn secrets_that_follow_the_rules_are_accepted() {
        for secret in [
            whsec(24),
            whsec(64),
            "0123456789abcdef".to_owned(),
            "It's a Secret to Everybody".to_owned(),
            "é".repeat(256),
            format!("whsk_{}", BASE64.encode([1; 32])),
            format!("whsk_{}", BASE64.encode(SigningKey::from_bytes(&[1; 32]).to_keypair_bytes())),
        ] {
            assert_eq!(check_secret(&secret), Ok(()), "{secret}");
        }
    }

    #[test]
    fn other_secrets_are_refused_with_their_length() {
        for (secret, error) in [
            (String::new(), SecretError::TextLength { chars: 0 }),
            ("0123456789abcde".to_owned(), SecretError::TextLength { chars: 15 }),
            ("é".repeat(257), SecretError::TextLength { chars: 257 }),
            ("0123456789abcdef\n".to_owned(), SecretError::Unprintable),
            ("0123456789\tabcdef".to_owned(), SecretError::Unprintable),
            (whsec(23), SecretError::KeyLength { bytes: 23 }),
            (whsec(65), SecretError::KeyLength { bytes: 65 }),
            ("whsec_".to_owned(), SecretError::KeyLength { bytes: 0 }),
            ("whsec_not base64 at all".to_owned(), SecretError::Base64 { prefix: "whsec_" }),
            (whsec(25).trim_end_matches('=').to_owned(), SecretError::Base64 { prefix: "whsec_" }),
            ("whsk_AAAA".to_owned(), SecretError::PrivateKey { bytes: 3 }),
            (format!("whsk_{}", BASE64.encode([1; 64])), SecretError::PrivateKey { bytes: 64 }),
            ("whpk_AAAA".to_owned(), SecretError::PublicKey),
        ] {
            assert_eq!(check_secret(&secret), Err(error), "{secret}");
            if secret.len() > 10 {
                assert!(!error.to_string().contains(&secret));
            }
        }
        let message = SecretError::TextLength { chars: 9 }.to_string();
        assert!(message.contains("has 9 characters; it must have 16"), "{message}");
    }

    #[test]
    fn generated_secrets_differ_and_follow_the_rules() {
        let mut random = StdRng::seed_from_u64(1);
        let (one, two) = (generate_secret(&mut random), generate_secret(&mut random));
        assert_ne!(one, two);
        assert_eq!(check_secret(&one), Ok(()));
        assert_eq!(standard_key(&one).unwrap().len(), 32);
    }

    #[test]
    fn public_keys_are_read_back() {
        let key = SigningKey::from_bytes(&[3; 32]).verifying_key();
        assert_eq!(public_key(&public_key_text(&key)), Some(key));
        assert_eq!(public_key("whpk_AAAA"), None);
    }
}
