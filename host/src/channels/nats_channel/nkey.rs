//! The keys of NATS: an Ed25519 seed in base32 with a type and a checksum, which signs the nonce of
//! a connection (nats-io/nkeys, README "Specification").

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// The first five bits of a seed, which spell `S`.
const SEED: u8 = 18 << 3;
/// Length of a decoded seed: two bytes of type, the seed, two bytes of checksum.
const SEED_LENGTH: usize = 2 + 32 + 2;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A user's key, and the user's token if the server uses accounts.
pub struct NatsCredentials {
    keys: Ed25519KeyPair,
    /// The public key in the format of NATS.
    public: String,
    /// The JWT of the user, if the server uses accounts.
    pub jwt: Option<String>,
}

impl std::fmt::Debug for NatsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsCredentials").field("public", &self.public).finish_non_exhaustive()
    }
}

impl NatsCredentials {
    /// Reads a seed (`SU…`), or the contents of a `.creds` file.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if !text.contains("-----BEGIN") {
            return Self::of_seed(text, None);
        }
        let section = |name: &str| {
            let (_, after) = text.split_once(&format!("-----BEGIN {name}-----"))?;
            after.split("---").next().map(str::trim)
        };
        let seed =
            section("USER NKEY SEED").ok_or("the credentials do not contain a USER NKEY SEED")?;
        let jwt =
            section("NATS USER JWT").ok_or("the credentials do not contain a NATS USER JWT")?;
        Self::of_seed(seed, Some(jwt.to_owned()))
    }

    fn of_seed(seed: &str, jwt: Option<String>) -> Result<Self, &'static str> {
        const WRONG: &str = "this is neither a NATS seed (`SU…`) nor the contents of a .creds file";
        let bytes = decode_base32(seed).filter(|bytes| bytes.len() == SEED_LENGTH).ok_or(WRONG)?;
        let (keyed, checksum) = bytes.split_at(SEED_LENGTH - 2);
        let ([first, second, seed @ ..], [low, high]) = (keyed, checksum) else {
            return Err(WRONG);
        };
        if first & 0xf8 != SEED || crc16(keyed) != u16::from_le_bytes([*low, *high]) {
            return Err(WRONG);
        }
        let keys = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_opaque| WRONG)?;
        let kind = (first & 7) << 5 | second >> 3;
        let mut public = vec![kind];
        public.extend_from_slice(keys.public_key().as_ref());
        public.extend_from_slice(&crc16(&public).to_le_bytes());
        Ok(Self { keys, public: encode_base32(&public), jwt })
    }

    /// Returns the public key in the format of NATS.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Signs a server's nonce for `CONNECT`.
    pub fn sign(&self, nonce: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.keys.sign(nonce.as_bytes()))
    }
}

/// Computes CRC-16/XMODEM, the checksum of NATS's keys.
fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, step))
}

fn encode_base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    let mut push = |value: u32| {
        let letter = ALPHABET.get((value & 31) as usize).copied().unwrap_or_default();
        text.push(char::from(letter));
    };
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(held >> bits);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        push(held << (5 - bits));
    }
    text
}

fn decode_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        held = held << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The pair that the documentation of NATS shows ("NKeys", docs.nats.io).
    const SEED_TEXT: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    fn read(text: &str) -> Result<NatsCredentials, &'static str> {
        NatsCredentials::read(text)
    }

    #[test]
    fn the_public_key_is_derived_from_the_seed() {
        let credentials = read(SEED_TEXT).unwrap();
        assert_eq!(credentials.public(), PUBLIC);
        assert!(credentials.jwt.is_none());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(credentials.sign("nonce")).unwrap().len(), 64);
        assert!(!format!("{credentials:?}").contains("SUAC"));
    }

    #[test]
    fn a_file_of_credentials_holds_a_token_too() {
        let file = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.e30.x\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{SEED_TEXT}\n------END USER NKEY SEED------\n"
        );
        let credentials = read(&file).unwrap();
        assert_eq!(credentials.jwt.as_deref(), Some("eyJ0.e30.x"));
        assert_eq!(credentials.public(), PUBLIC);
    }

    #[test]
    fn anything_else_is_refused() {
        let changed = SEED_TEXT.replace("SUACSSL3", "SUACSSL4");
        for text in ["", "SUAC", PUBLIC, changed.as_str(), "-----BEGIN NATS USER JWT-----"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
