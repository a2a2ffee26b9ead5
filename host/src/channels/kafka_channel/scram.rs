//! The client's side of SCRAM (RFC 5802, RFC 7677), by which a password is never sent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

/// How many iterations a broker may ask for: those that Kafka itself accepts. Fewer would make a
/// password easy to guess for whoever hears the proof (RFC 7677, section 4).
const ITERATIONS: RangeInclusive<u32> = 4_096..=16_384;

/// The hash function of a log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramHash {
    Sha256,
    Sha512,
}

impl ScramHash {
    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    const fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    const fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn sign(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac(), key), text).as_ref().to_vec()
    }
}

/// A log-in that has begun.
#[derive(Debug)]
pub struct ScramLogin {
    hash: ScramHash,
    /// The first message without its header.
    first: String,
    nonce: String,
}

/// The second message of the client, and the proof that the server must give in turn.
#[derive(Debug)]
pub struct ScramProof {
    pub message: String,
    expected: Vec<u8>,
    hash: ScramHash,
    signed: String,
}

impl ScramLogin {
    /// Begins a log-in. The nonce must be new.
    pub fn begin(hash: ScramHash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, first: format!("n={user},r={nonce}"), nonce }
    }

    /// Returns the first message.
    pub fn message(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// Answers the server's first message.
    pub fn answer(&self, password: &str, said: &str) -> Result<ScramProof, &'static str> {
        let nonce = find_value(said, "r=").filter(|nonce| nonce.starts_with(&self.nonce));
        let nonce = nonce.ok_or("the server's nonce does not begin with ours")?;
        let salt = find_value(said, "s=").and_then(|salt| BASE64_STANDARD.decode(salt).ok());
        let salt = salt.ok_or("the server sent no salt")?;
        let rounds = find_value(said, "i=").and_then(|rounds| rounds.parse::<NonZeroU32>().ok());
        let rounds = rounds.filter(|rounds| ITERATIONS.contains(&rounds.get()));
        let rounds =
            rounds.ok_or("the server asks for fewer than 4,096 or more than 16,384 iterations")?;
        let hash = self.hash;
        let mut salted = vec![0; hash.digest().output_len()];
        pbkdf2::derive(hash.pbkdf2(), rounds, &salt, password.as_bytes(), &mut salted);
        let last = format!("c=biws,r={nonce}");
        let signed = format!("{},{said},{last}", self.first);
        let key = hash.sign(&salted, b"Client Key");
        let stored = digest::digest(hash.digest(), &key);
        let signature = hash.sign(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        let message = format!("{last},p={}", BASE64_STANDARD.encode(proof));
        Ok(ScramProof { message, expected: hash.sign(&salted, b"Server Key"), hash, signed })
    }
}

impl ScramProof {
    /// Checks the server's last message: only one that knows the password can make it.
    pub fn check(&self, said: &str) -> Result<(), &'static str> {
        let given = find_value(said, "v=").and_then(|given| BASE64_STANDARD.decode(given).ok());
        let key = hmac::Key::new(self.hash.hmac(), &self.expected);
        let is_right =
            given.is_some_and(|given| hmac::verify(&key, self.signed.as_bytes(), &given).is_ok());
        if is_right { Ok(()) } else { Err("the server does not prove that it knows the password") }
    }
}

/// Returns the value of an attribute of a message.
fn find_value<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard_is_reproduced() {
        let login = ScramLogin::begin(ScramHash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(login.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let said = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = login.answer("pencil", said).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proof.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(proof.check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(proof.check("e=invalid-proof").is_err());
    }

    #[test]
    fn a_server_cannot_choose_the_nonce_or_any_amount_of_work() {
        let login = ScramLogin::begin(ScramHash::Sha512, "a,b=c", "abc".to_owned());
        assert_eq!(login.message(), "n,,n=a=2Cb=3Dc,r=abc");
        for said in
            ["r=xyz,s=AAAA,i=4096", "r=abcd,s=AAAA,i=4000000000", "r=abcd,i=1", "r=abcd,s=AAAA,i=0"]
        {
            assert!(login.answer("p", said).is_err(), "{said}");
        }
    }
}
