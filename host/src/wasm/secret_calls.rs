//! `secrets`: keys that a guest uses and never sees.

use super::bindings::waybill::module::secrets::{Encoding, Hash, Host};
use super::bindings::waybill::module::types::{BodyResult, Failure};
use super::capabilities::permanent;
use super::guest_log::clip;
use super::guest_state::GuestState;
use crate::model::capability_grants::ModuleCapability;
use crate::model::event::MAX_KEY;

impl Host for GuestState {
    fn hmac(
        &mut self,
        secret: String,
        _hash: Hash,
        _message: BodyResult,
        _encoding: Encoding,
    ) -> Result<String, Failure> {
        self.granted(ModuleCapability::Secrets)?;
        Err(unknown_secret(&secret))
    }

    fn verify(
        &mut self,
        secret: String,
        _hash: Hash,
        _message: BodyResult,
        _encoding: Encoding,
        _hmac: String,
    ) -> Result<bool, Failure> {
        self.granted(ModuleCapability::Secrets)?;
        Err(unknown_secret(&secret))
    }
}

fn unknown_secret(name: &str) -> Failure {
    let name = clip(name, MAX_KEY);
    permanent("unknown_secret", format!("there is no secret `{name}`"))
}
