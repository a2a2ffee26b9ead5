//! Calls whose row of the audit goes into the capture log together with their events.
//!
//! While the database is away, the audit of other calls waits in memory, which is bounded. Captures
//! go on, so their rows must not wait there.

use super::AppState;
use crate::ingest::accept::{AcceptedEvent, CapturePlace};
use crate::model::api_call::ApiCall;
use crate::model::id::{RequestId, TokenId};
use axum::response::Response;
use http::{Method, StatusCode};
use std::net::IpAddr;
use std::time::Instant;

/// The facts of a call that captures, for its row of the audit.
#[derive(Debug, Clone)]
pub struct CallBeginning {
    pub id: RequestId,
    pub token: Option<TokenId>,
    pub address: IpAddr,
    pub method: Method,
    pub route: String,
    pub began: Instant,
}

/// Marks an answer whose call is in the capture log.
#[derive(Debug, Clone, Copy)]
pub struct CallIsLogged;

impl CallBeginning {
    fn into_call(self, status: StatusCode) -> ApiCall {
        let Self { id, token, address, method, route, began } = self;
        ApiCall {
            id,
            token,
            address,
            method: method.as_str().to_owned(),
            route,
            status: status.as_u16(),
            duration: began.elapsed(),
            calls: 1,
        }
    }
}

/// Returns whether a call captures events.
pub fn is_capture(method: &Method, route: &str) -> bool {
    *method == Method::POST && (route == "/api/v1/events" || route.starts_with("/in/"))
}

/// Returns where the events of a call become durable. `beginning` is the call, if it has a row of
/// its own in the audit; it will be answered with `status`.
pub fn capture_place(
    app: &AppState,
    beginning: Option<CallBeginning>,
    status: StatusCode,
) -> CapturePlace<'_> {
    let call = beginning.filter(|_| app.audit.is_on()).map(|call| call.into_call(status));
    CapturePlace { journal: &app.journal, log: app.capture_log.as_ref(), call }
}

/// Returns whether a request was not a repeat. The log drops the message of a repeat, and its call
/// with it.
pub fn is_new(accepted: &[AcceptedEvent]) -> bool {
    accepted.iter().any(|event| !event.receipt.duplicate)
}

/// Marks an answer whose call is in the capture log.
pub fn mark_logged(response: &mut Response, is_logged: bool) {
    if is_logged {
        response.extensions_mut().insert(CallIsLogged);
    }
}
