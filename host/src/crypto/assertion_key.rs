//! Signs assertions: JSON Web Tokens (RFC 7519) in the compact form of JWS (RFC 7515). The private
//! key is an RSA, elliptic-curve or Ed25519 key.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// Why a key cannot sign assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// The text is not PEM, or not a private key.
    #[error("this is not a private key in PEM; such a key begins with -----BEGIN PRIVATE KEY-----")]
    NotPem,
    #[error(
        "this key cannot be used; use an RSA key of 2,048 to 4,096 bits, or a P-256, P-384 or Ed25519 \
         key in PKCS #8 (-----BEGIN PRIVATE KEY-----)"
    )]
    /// The key has another type or size than the supported ones.
    Unknown,
    /// The cryptographic library failed to sign.
    #[error("the assertion cannot be signed")]
    Unsigned,
}

/// A private key that signs assertions.
pub struct AssertionKey(KeyPair);

enum KeyPair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AssertionKey(hidden)")
    }
}

impl AssertionKey {
    /// Reads a private key in PEM: PKCS #8, or PKCS #1 for RSA.
    pub fn read(pem: &str) -> Result<Self, AssertionError> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let key = key.map_err(|_opaque| AssertionError::NotPem)?;
        let der = key.secret_der();
        if matches!(key, PrivateKeyDer::Pkcs1(_)) {
            let pair = RsaKeyPair::from_der(der).map_err(|_opaque| AssertionError::Unknown)?;
            return Ok(Self(KeyPair::Rsa(Box::new(pair))));
        }
        let random = SystemRandom::new();
        let curve = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der, &random).ok();
        let pair = RsaKeyPair::from_pkcs8(der).ok().map(|pair| KeyPair::Rsa(Box::new(pair)));
        let pair = pair
            .or_else(|| curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).map(KeyPair::P256))
            .or_else(|| curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).map(KeyPair::P384))
            .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(KeyPair::Ed25519));
        pair.map(Self).ok_or(AssertionError::Unknown)
    }

    /// Returns a signed token with these claims. `key_id` becomes the `kid` of its header.
    pub fn sign(&self, key_id: Option<&str>, claims: &Value) -> Result<String, AssertionError> {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let (Some(key_id), Some(header)) = (key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), key_id.into());
        }
        let encode = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.sign_bytes(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Returns the `alg` of the token's header.
    const fn algorithm(&self) -> &'static str {
        match self.0 {
            KeyPair::Rsa(_) => "RS256",
            KeyPair::P256(_) => "ES256",
            KeyPair::P384(_) => "ES384",
            KeyPair::Ed25519(_) => "EdDSA",
        }
    }

    fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, AssertionError> {
        let random = SystemRandom::new();
        match &self.0 {
            KeyPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_opaque| AssertionError::Unsigned)?;
                Ok(signature)
            }
            KeyPair::P256(pair) | KeyPair::P384(pair) => {
                let signature =
                    pair.sign(&random, message).map_err(|_opaque| AssertionError::Unsigned)?;
                Ok(signature.as_ref().to_vec())
            }
            KeyPair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair as MadeKey, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};

    #[test]
    fn assertions_verify_with_the_public_key() {
        let cases: [(_, _, &'static dyn VerificationAlgorithm); 3] = [
            (&PKCS_ECDSA_P256_SHA256, "ES256", &signature::ECDSA_P256_SHA256_FIXED),
            (&PKCS_ECDSA_P384_SHA384, "ES384", &signature::ECDSA_P384_SHA384_FIXED),
            (&PKCS_ED25519, "EdDSA", &signature::ED25519),
        ];
        for (kind, algorithm, verifier) in cases {
            let made = MadeKey::generate_for(kind).unwrap();
            let key = AssertionKey::read(&made.serialize_pem()).unwrap();
            let token = key.sign(Some("k1"), &json!({"iss": "c"})).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
            let public = UnparsedPublicKey::new(verifier, made.public_key_raw());
            public.verify(signed.as_bytes(), &decode(signature)).unwrap();
            let (header, claims) = signed.split_once('.').unwrap();
            let header: Value = serde_json::from_slice(&decode(header)).unwrap();
            assert_eq!(header, json!({"alg": algorithm, "typ": "JWT", "kid": "k1"}));
            assert_eq!(decode(claims), br#"{"iss":"c"}"#);
        }
    }

    #[test]
    fn a_text_that_is_not_a_key_is_refused_with_a_reason() {
        assert_eq!(AssertionKey::read("").unwrap_err(), AssertionError::NotPem);
        let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(AssertionKey::read(broken).unwrap_err(), AssertionError::Unknown);
    }
}
