//! The capability `secrets`: HMACs under keys that a guest never sees.

use super::bindings::waybill::module::secrets::{Encoding, Hash, Host};
use super::bindings::waybill::module::types::{BodyResult, Failure};
use super::capabilities::{CapabilityRun, permanent};
use super::guest_state::GuestState;
use super::outgoing::checked_request::find_secret;
use crate::model::capability_grants::ModuleCapability;
use crate::signing::usable_secret::{MacHash, UsableSecret};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

impl Host for GuestState {
    fn hmac(
        &mut self,
        secret: String,
        hash: Hash,
        message: BodyResult,
        encoding: Encoding,
    ) -> Result<String, Failure> {
        let run = self.granted(ModuleCapability::Secrets)?;
        let code = named(run, &secret)?.sign(hash.into(), bytes(&message));
        code.map(|code| write_code(&code, encoding)).ok_or_else(|| unreadable(&secret))
    }

    fn verify(
        &mut self,
        secret: String,
        hash: Hash,
        message: BodyResult,
        encoding: Encoding,
        hmac: String,
    ) -> Result<bool, Failure> {
        let run = self.granted(ModuleCapability::Secrets)?;
        // A text in another encoding cannot be the HMAC. Saying so does not reveal the secret.
        let Some(code) = read_code(&hmac, encoding) else { return Ok(false) };
        let fits = named(run, &secret)?.verify(hash.into(), bytes(&message), &code, run.now);
        fits.ok_or_else(|| unreadable(&secret))
    }
}

fn named<'r>(run: &'r CapabilityRun, name: &str) -> Result<&'r UsableSecret, Failure> {
    find_secret(name, &run.grants, &run.secrets).map_err(Failure::from)
}

fn unreadable(name: &str) -> Failure {
    permanent("unknown_secret", format!("secret `{name}` cannot be read"))
}

fn bytes(message: &BodyResult) -> &[u8] {
    match message {
        BodyResult::Json(text) | BodyResult::Text(text) => text.as_bytes(),
        BodyResult::Bytes(bytes) => bytes,
    }
}

fn write_code(code: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => hex::encode(code),
        Encoding::Base64 => STANDARD.encode(code),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(code),
    }
}

fn read_code(text: &str, encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => STANDARD.decode(text).ok(),
        Encoding::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
    }
}

impl From<Hash> for MacHash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1,
            Hash::Sha256 => Self::Sha256,
            Hash::Sha512 => Self::Sha512,
        }
    }
}
