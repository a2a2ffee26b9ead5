//! Requests that a module of the source decodes: what it is asked, and how its failures are answered.

use super::WebhookRefused;
use crate::api::problem::ApiProblem;
use crate::ingest::source_decoder::{
    DecodeRefusal, DecodedWebhook, SenderReply, VerifiedRequest, decode_webhook,
};
use crate::settings::source_runtime::SourceRuntime;
use crate::wasm::ModuleFailure;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use std::time::Duration;

/// Seconds after which a sender may retry, unless the module says otherwise.
const LATER: u32 = 30;

/// Decodes a request, if the source has a module for that.
pub(super) async fn decode_request(
    runtime: &SourceRuntime,
    request: VerifiedRequest<'_>,
) -> Option<Result<DecodedWebhook, WebhookRefused>> {
    let (stage, settings) = (runtime.module.as_ref()?, &runtime.source.settings);
    let webhook = settings.webhook.as_ref()?;
    let decoded = decode_webhook((&settings.name, webhook), stage, request).await;
    Some(decoded.map_err(|refusal| refuse(&settings.name, refusal)))
}

/// Returns the answer to a request that was not decoded. The words of a trap are for operators only,
/// because they may quote the module's configuration.
fn refuse(source: &str, refusal: DecodeRefusal) -> WebhookRefused {
    let failure = match refusal {
        DecodeRefusal::Body(error) => return error.into(),
        DecodeRefusal::Closed(closed) => {
            tracing::warn!(source, why = closed.why, "a module that decodes requests cannot run");
            let problem = ApiProblem::module_unavailable(source, LATER);
            return WebhookRefused::new(closed.reason, problem).noting(closed.why);
        }
        DecodeRefusal::Failed(failure) => failure,
    };
    let (reason, detail) = (failure.reason(), failure.to_string());
    if !matches!(failure, ModuleFailure::Declared { .. }) {
        tracing::warn!(source, reason, "a module failed to decode a request; nothing was stored");
    }
    match failure {
        ModuleFailure::Declared { retryable: true, after, code, message, .. } => {
            let wait = after.map_or(LATER, whole_seconds);
            let problem = ApiProblem::put_off_by_module(&code, &message, wait);
            WebhookRefused::new(reason, problem)
        }
        ModuleFailure::Declared { code, message, pointer, .. } => {
            let problem = ApiProblem::refused_by_module(&code, &message, pointer);
            WebhookRefused::new("module_refused", problem)
        }
        ModuleFailure::Timeout { .. } | ModuleFailure::Host { .. } => {
            let problem = ApiProblem::module_unavailable(source, LATER);
            WebhookRefused::new(reason, problem).noting(detail)
        }
        ModuleFailure::Trap { .. }
        | ModuleFailure::Memory { .. }
        | ModuleFailure::Output { .. } => {
            let problem = ApiProblem::module_failed(source, reason);
            WebhookRefused::new(reason, problem).noting(detail)
        }
    }
}

fn whole_seconds(time: Duration) -> u32 {
    // Rounded up: 0 would ask the sender to come back at once.
    u32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// Returns the answer that a module gives to the sender.
pub(super) fn answer_sender(reply: SenderReply) -> Response {
    let SenderReply { status, headers, body } = reply;
    let mut response = (status, body).into_response();
    for (name, value) in &headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// Returns the status of the answer to a request that is accepted.
pub(super) fn answer_status(reply: Option<&SenderReply>, is_empty: bool) -> StatusCode {
    match (reply, is_empty) {
        (Some(reply), _) => reply.status,
        (None, true) => StatusCode::OK,
        (None, false) => StatusCode::ACCEPTED,
    }
}
