//! `http`: requests to hosts that the manifest names.

use super::bindings::waybill::module::http::Host;
use super::bindings::waybill::module::http_types::{Request, Response};
use super::bindings::waybill::module::types::Failure;
use super::capabilities::permanent;
use super::guest_state::GuestState;
use crate::model::capability_grants::ModuleCapability;

impl Host for GuestState {
    async fn send(&mut self, _request: Request) -> Result<Response, Failure> {
        self.granted(ModuleCapability::Http)?;
        Err(permanent("denied", "this version of Waybill makes no requests for modules".to_owned()))
    }
}
