//! Computes SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104).
//!
//! The implementation is ring's. On a processor without SHA-256 instructions it takes half the time
//! of plain Rust, and signatures are the largest single cost of a delivery there.

use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;

/// Returns the digest of the concatenated parts.
pub fn sha256_digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    array(context.finish().as_ref())
}

/// A key for HMAC-SHA256, with its key schedule already computed.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(hidden)")
    }
}

impl MacKey {
    /// Prepares a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the code of the concatenated parts.
    pub fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = self.begin();
        for part in parts {
            context.update(part);
        }
        finish(context)
    }

    /// Whether `code` is the code of the concatenated parts. Compares in constant time.
    pub fn fits(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        self.of(parts).ct_eq(code).into()
    }

    /// Starts the code of a message that arrives in pieces. [`finish`] returns the code.
    pub fn begin(&self) -> hmac::Context {
        hmac::Context::with_key(&self.0)
    }
}

/// Returns the code of all pieces.
pub fn finish(context: hmac::Context) -> [u8; 32] {
    array(context.sign().as_ref())
}

/// Converts a digest to 32 bytes, because ring's types do not state their length.
fn array(bytes: &[u8]) -> [u8; 32] {
    bytes.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of FIPS 180-4, and test case 2 of RFC 4231.
    #[test]
    fn published_vectors_match() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(sha256_digest(&[b"a", b"bc"])), abc);
        let mac = MacKey::new(b"Jefe");
        let code = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(hex::encode(mac.of(&parts)), code);
        assert!(mac.fits(&parts, &hex::decode(code).unwrap()));
        assert!(!mac.fits(&parts, &[0; 32]) && !mac.fits(&parts, &[]));
    }
}
