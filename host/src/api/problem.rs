//! RFC 9457 problem documents.

use crate::error_chain::error_chain;
use crate::ingest::capture_log::LogRefusal;
use crate::ingest::event_body::BodyError;
use crate::model::attributes::MAX_HOPS;
use crate::model::fault::InputFault;
use crate::model::module_manifest::HARD_COMPONENT;
use crate::settings;
use crate::store;
use crate::time::timestamp::Timestamp;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// A problem document with its headers.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ApiProblem {
    /// The kind of problem, as a URI reference.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The fault and its correction.
    pub detail: String,
    /// Faults of the input, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<InputFault>,
    /// Seconds after which the call may be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiProblem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
        }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Self {
        self.with_value(name, HeaderValue::from_static(value))
    }

    /// Adds a header.
    #[must_use]
    pub fn with_value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The input can be read but has faults.
    pub fn invalid(errors: Vec<InputFault>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.path.is_empty() => only.message.clone(),
            [only] => format!("{}: {}", only.path, only.message),
            many => format!("{} fields are wrong; `errors` names each", many.len()),
        };
        let problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:waybill:problem:invalid-input",
            "Invalid input",
            detail,
        );
        Self { errors, ..problem }
    }

    /// One field has a fault.
    pub fn fault(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![InputFault::new(path, message)])
    }

    /// The input is not JSON.
    pub fn malformed(why: impl std::fmt::Display) -> Self {
        let detail = format!("the body is not JSON: {why}");
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:waybill:problem:malformed-json",
            "Malformed JSON",
            detail,
        )
    }

    /// The request itself is not valid.
    pub fn malformed_request(detail: impl Into<String>) -> Self {
        let kind = "urn:waybill:problem:malformed-request";
        Self::new(StatusCode::BAD_REQUEST, kind, "Malformed request", detail)
    }

    /// The body did not arrive in time.
    pub fn timed_out(detail: impl Into<String>) -> Self {
        let kind = "urn:waybill:problem:timeout";
        Self::new(StatusCode::REQUEST_TIMEOUT, kind, "Request timeout", detail)
    }

    /// The object does not exist.
    pub fn missing(what: &str, id: &str) -> Self {
        Self::not_found(format!("there is no {what} `{id}`"))
    }

    /// The object does not exist; the detail describes it.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "urn:waybill:problem:not-found", "Not found", detail)
    }

    /// The request does not match the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "urn:waybill:problem:conflict", "Conflict", detail)
    }

    /// The object has another state than the caller expects in `If-Match`. `changed` names the
    /// fields, as far as they are known.
    pub fn changed_since(name: &str, at: Timestamp, changed: Vec<InputFault>) -> Self {
        let fields: Vec<&str> = changed.iter().map(|fault| fault.path.as_str()).collect();
        let what = if fields.is_empty() {
            "a secret, a masked value or a field that is left out now".to_owned()
        } else {
            fields.join(", ")
        };
        let detail = format!(
            "`{name}` was changed at {at}, after the state that `If-Match` names: {what}. Nothing of this \
             request was stored; look at it and send the request again with the `ETag` of this answer"
        );
        let kind = "urn:waybill:problem:changed-since";
        let status = StatusCode::PRECONDITION_FAILED;
        let problem = Self::new(status, kind, "Changed by another request", detail);
        Self { errors: changed, ..problem }
    }

    /// Prefixes the paths of the faults with a place.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        if self.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16() && !self.errors.is_empty() {
            return Self::invalid(
                self.errors.into_iter().map(|fault| fault.within(place)).collect(),
            );
        }
        self.errors = self.errors.into_iter().map(|fault| fault.within(place)).collect();
        self
    }

    /// The system from which a source reads does not answer as it should.
    pub fn unavailable_source(why: &crate::sources::RunFailed) -> Self {
        let kind = "urn:waybill:problem:source-unavailable";
        Self::new(StatusCode::BAD_GATEWAY, kind, "Source unavailable", why.to_string())
    }

    /// The system that an endpoint calls failed, or its result is uncertain.
    pub fn unavailable_endpoint(endpoint: &str, why: &str) -> Self {
        let kind = "urn:waybill:problem:endpoint-unavailable";
        let detail = format!("endpoint `{endpoint}`: {why}");
        Self::new(StatusCode::BAD_GATEWAY, kind, "Endpoint unavailable", detail)
    }

    /// The body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body has more than {limit} bytes; send less in one request");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:waybill:problem:too-large",
            "Body too large",
            detail,
        )
    }

    /// For a component that is too large, names the setting to raise.
    #[must_use]
    pub fn or_large_component(mut self, limit: usize) -> Self {
        if self.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16() {
            self.detail = format!(
                "the component has more than {limit} bytes: ask the server's operator to raise \
                 `modules.max_component` in its configuration, to at most {HARD_COMPONENT}. A component of Rust \
                 needs less if it is built in release mode with `opt-level = \"s\"` and `strip = true`; one of Python \
                 has 18 MB"
            );
        }
        self
    }

    /// A version of a module requests capabilities that nobody has approved yet.
    pub fn approval_needed(name: &str, version: Option<u32>, pending: &[String]) -> Self {
        let which = version.map(|number| format!("version {number} of ")).unwrap_or_default();
        let detail = format!(
            "{which}module `{name}` requests capabilities that are not approved: {}. Check its manifest, and activate it \
             with `\"approve\": [\u{2026}]` (on the command line `--approve`) if it may",
            pending.join(", ")
        );
        let kind = "urn:waybill:problem:approval-needed";
        let problem = Self::new(StatusCode::CONFLICT, kind, "Approval needed", detail);
        let errors = pending.iter().map(|item| InputFault::new("approve", item.clone())).collect();
        Self { errors, ..problem }
    }

    /// The sample cases of a version fail.
    pub fn cases_failed(detail: impl Into<String>, errors: Vec<InputFault>) -> Self {
        let kind = "urn:waybill:problem:cases-failed";
        let problem = Self::new(StatusCode::CONFLICT, kind, "Sample cases failed", detail);
        Self { errors, ..problem }
    }

    /// The content type is not supported.
    pub fn media_type(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(
            status,
            "urn:waybill:problem:unsupported-media-type",
            "Unsupported media type",
            detail,
        )
    }

    /// The event was delivered and captured again too often.
    pub fn looped(hops: u32) -> Self {
        let detail = format!(
            "this event was delivered and captured again {hops} times, more than the limit of {MAX_HOPS}: an \
             endpoint feeds the source that it gets its events from. Limit the endpoint to other event \
             types, or stop its receiver from sending deliveries back here"
        );
        let kind = "urn:waybill:problem:loop";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, "Event goes round in a loop", detail)
    }

    /// The caller is known but has no right to do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "urn:waybill:problem:forbidden", "Forbidden", detail)
    }

    /// The caller has no right to do this; the faults name the fields.
    pub fn forbidden_fields(detail: impl Into<String>, errors: Vec<InputFault>) -> Self {
        Self { errors, ..Self::forbidden(detail) }
    }

    /// The source's secret cannot be decrypted with the present key, so its requests cannot be
    /// verified. The sender may try again in `wait` seconds.
    pub fn locked(source: &str, wait: u32) -> Self {
        let detail = format!(
            "the secret of source `{source}` cannot be read with this server's key; an operator has to enter it again"
        );
        let problem = Self::paused(source, wait);
        Self { kind: "urn:waybill:problem:locked", title: "Secret not readable", detail, ..problem }
    }

    /// The caller called too often and may call again in `wait` seconds. The body contains the wait
    /// too, because automation platforms look for it there.
    pub fn too_many(detail: impl Into<String>, wait: u32) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let kind = "urn:waybill:problem:too-many-requests";
        let problem = Self::new(status, kind, "Too many requests", detail);
        Self { retry_after: Some(wait), ..problem }.with_value(header::RETRY_AFTER, wait.into())
    }

    /// The caller presented no token, or an unknown one.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "urn:waybill:problem:unauthorized",
            "Unauthorized",
            detail,
        )
        .with(header::WWW_AUTHENTICATE, "Bearer realm=\"waybill\"")
    }

    /// The request does not have its source's signature.
    pub fn unverified(detail: impl Into<String>) -> Self {
        let kind = "urn:waybill:problem:unverified";
        Self::new(StatusCode::UNAUTHORIZED, kind, "Signature does not fit", detail)
    }

    /// The server is busy.
    pub fn busy() -> Self {
        let detail = "too many requests are in progress; nothing was stored, send it again";
        let kind = "urn:waybill:problem:busy";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, "Busy", detail);
        Self { retry_after: Some(1), ..problem }.with(header::RETRY_AFTER, "1")
    }

    /// The source is paused. The sender may try again in `wait` seconds.
    pub fn paused(source: &str, wait: u32) -> Self {
        let detail =
            format!("source `{source}` is paused; nothing was stored, send it again later");
        let kind = "urn:waybill:problem:paused";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, "Paused", detail);
        Self { retry_after: Some(wait), ..problem }.with_value(header::RETRY_AFTER, wait.into())
    }

    /// The module of a source does not take a request, because the request is bad.
    pub fn refused_by_module(code: &str, message: &str, pointer: Option<String>) -> Self {
        let kind = "urn:waybill:problem:refused-by-module";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = Self::new(status, kind, "Refused", format!("{code}: {message}"));
        let errors = vec![InputFault::new(pointer.unwrap_or_default(), message)];
        Self { errors, ..problem }
    }

    /// The module of a source cannot take a request now. The sender may try again in `wait` seconds.
    pub fn put_off_by_module(code: &str, message: &str, wait: u32) -> Self {
        let kind = "urn:waybill:problem:put-off-by-module";
        let detail = format!("{code}: {message}; nothing was stored, send it again later");
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, "Not now", detail);
        Self { retry_after: Some(wait), ..problem }.with_value(header::RETRY_AFTER, wait.into())
    }

    /// The module of a source cannot run now. The sender may try again in `wait` seconds.
    pub fn module_unavailable(source: &str, wait: u32) -> Self {
        let kind = "urn:waybill:problem:module-unavailable";
        let detail = format!(
            "the module that decodes the requests of source `{source}` cannot run at present; nothing was \
             stored, send it again later"
        );
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let problem = Self::new(status, kind, "Module unavailable", detail);
        Self { retry_after: Some(wait), ..problem }.with_value(header::RETRY_AFTER, wait.into())
    }

    /// The module of a source failed on a request.
    pub fn module_failed(source: &str, reason: &str) -> Self {
        let kind = "urn:waybill:problem:module-failed";
        let detail = format!(
            "the module that decodes the requests of source `{source}` failed ({reason}); nothing was stored. \
             Send it again once the module is corrected; the source's status has the details"
        );
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, kind, "Module failed", detail)
    }

    /// The database does not accept writes at present.
    pub fn unavailable() -> Self {
        let detail = "the database does not answer at present; nothing was stored, send it again";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:waybill:problem:unavailable",
            "Unavailable",
            detail,
        )
        .with(header::RETRY_AFTER, "2")
    }

    /// The node started while its database was away, and only captures until it answers.
    pub fn without_database() -> Self {
        let detail = "the database has not answered since this node started; until it does, the node \
                      only captures events";
        Self { detail: detail.to_owned(), ..Self::unavailable() }
    }

    /// An error that the caller did not cause. It is logged.
    pub fn unexpected(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed");
        Self::internal()
    }

    /// A fault of the server that the caller cannot correct.
    pub fn internal() -> Self {
        let detail =
            "an internal error occurred; the log has the details under this answer's request id";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:waybill:problem:internal",
            "Internal error",
            detail,
        )
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<LogRefusal> for ApiProblem {
    fn from(refusal: LogRefusal) -> Self {
        match refusal {
            LogRefusal::TooLarge(why) => {
                let detail = format!(
                    "the capture log cannot store a request of this size: {why}; send less in one \
                     request, or raise `max_payload` of the NATS servers"
                );
                Self { detail, ..Self::too_large(0) }
            }
            LogRefusal::Unavailable(ref why) => {
                tracing::warn!(why, "the capture log did not take a request");
                let detail = "the capture log did not confirm the request in time; whether it was stored \
                              is not known: send it again with the same id or `Idempotency-Key`, and it \
                              is stored once";
                Self { detail: detail.to_owned(), ..Self::unavailable() }
            }
        }
    }
}

impl From<store::StoreError> for ApiProblem {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::PayloadPruned(pruned) => Self::conflict(format!(
                "the event's payload was pruned {pruned} (retention.payloads); it can be neither planned nor \
                 sent again"
            )),
            store::StoreError::Missing(what) => {
                let detail = format!("{what} no longer exists; check the present state");
                Self::conflict(detail)
            }
            store::StoreError::NameTaken(name) => {
                Self::conflict(format!("the name `{name}` is already in use; choose another"))
            }
            store::StoreError::ChangedMeanwhile(name) => Self::conflict(format!(
                "`{name}` was changed or deleted by another request at the same moment, and nothing of this \
                 one was stored; look at it and send this request again"
            )),
            store::StoreError::KeyReused => Self::fault(
                "Idempotency-Key",
                "was used within the last 24 hours with another request; nothing was stored. Send \
                 the first request as it was, or use a new key",
            ),
            store::StoreError::Late(_) => {
                tracing::warn!(error = %error_chain(&error), "the database is slow");
                let detail = format!(
                    "{error}; whether it was stored is not known: send it again with the same id or \
                     `Idempotency-Key`, and it is stored once"
                );
                Self { detail, ..Self::unavailable() }
            }
            store::StoreError::Unavailable(_)
            | store::StoreError::Raced
            | store::StoreError::Closed => {
                tracing::warn!(error = %error_chain(&error), "the database does not answer");
                Self::unavailable()
            }
            store::StoreError::Refused(ref cause) => {
                tracing::error!(error = %error_chain(&error), "the database refused the data");
                Self::fault("", format!("the database cannot store this: {cause}"))
            }
            store::StoreError::Corrupt { .. }
            | store::StoreError::Migration(_)
            | store::StoreError::NewerSchema { .. }
            | store::StoreError::InUse { .. }
            | store::StoreError::File { .. }
            | store::StoreError::Address { .. }
            | store::StoreError::WrongUrl { .. } => {
                tracing::error!(error = %error_chain(&error), "the journal failed");
                Self::internal()
            }
        }
    }
}

impl From<settings::live::SettingsError> for ApiProblem {
    fn from(error: settings::live::SettingsError) -> Self {
        match error {
            settings::live::SettingsError::Journal(error) => error.into(),
            settings::live::SettingsError::Store(error) => {
                tracing::error!(%error, "secrets cannot be read or written");
                Self::internal()
            }
        }
    }
}

impl From<BodyError> for ApiProblem {
    fn from(refusal: BodyError) -> Self {
        match refusal {
            BodyError::Malformed(why) => Self::malformed(why),
            BodyError::Invalid(faults) => Self::invalid(faults),
            BodyError::MediaType(why) => Self::media_type(why),
            BodyError::Loop(hops) => Self::looped(hops),
        }
    }
}

/// No route has this path.
pub async fn not_found(uri: http::Uri) -> ApiProblem {
    ApiProblem::missing("page", uri.path())
}

/// A route has this path, but not with this method.
pub async fn method_not_allowed(method: http::Method, uri: http::Uri) -> ApiProblem {
    let detail = format!("{method} is not possible on `{}`; see /openapi.json", uri.path());
    ApiProblem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "urn:waybill:problem:method-not-allowed",
        "Method not allowed",
        detail,
    )
}
