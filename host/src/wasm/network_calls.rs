//! The capability `http`: requests to hosts that the manifest names.

use super::bindings::waybill::module::http::Host;
use super::bindings::waybill::module::http_types::{Request, ResponseResult};
use super::bindings::waybill::module::types::{BodyResult, Failure};
use super::capabilities::{permanent, retryable};
use super::guest_state::GuestState;
use super::outgoing::call_values::{ModuleBody, ModuleReply, ModuleRequest, RequestRefusal};
use crate::model::capability_grants::ModuleCapability;

impl Host for GuestState {
    async fn send(&mut self, request: Request) -> Result<ResponseResult, Failure> {
        let run = self.granted(ModuleCapability::Http)?;
        let Some(calls) = &run.calls else {
            let message = "a trial outside of a flow makes no requests".to_owned();
            return Err(permanent("not_recorded", message));
        };
        let reply = calls.answer(&run.grants, &run.secrets, read_request(request)).await;
        reply.map(write_reply).map_err(Failure::from)
    }
}

impl From<RequestRefusal> for Failure {
    fn from(refusal: RequestRefusal) -> Self {
        let RequestRefusal { code, message, may_pass } = refusal;
        if may_pass { retryable(code, message) } else { permanent(code, message) }
    }
}

pub fn read_request(request: Request) -> ModuleRequest {
    let Request { method, url, headers, secrets, body } = request;
    ModuleRequest { method, url, headers, secrets, body: body.map(read_body) }
}

fn read_body(body: BodyResult) -> ModuleBody {
    match body {
        BodyResult::Json(text) => ModuleBody::Json(text),
        BodyResult::Text(text) => ModuleBody::Text(text),
        BodyResult::Bytes(bytes) => ModuleBody::Bytes(bytes),
    }
}

/// Reads an answer that a module gives.
pub fn read_reply(reply: ResponseResult) -> ModuleReply {
    let ResponseResult { status, headers, body } = reply;
    ModuleReply { status, headers, body: read_body(body) }
}

fn write_reply(reply: ModuleReply) -> ResponseResult {
    let ModuleReply { status, headers, body } = reply;
    let body = match body {
        ModuleBody::Json(text) => BodyResult::Json(text),
        ModuleBody::Text(text) => BodyResult::Text(text),
        ModuleBody::Bytes(bytes) => BodyResult::Bytes(bytes),
    };
    ResponseResult { status, headers, body }
}
