//! The requests of an endpoint of kind `api`.

use super::attempt::{
    self, ATTEMPT, DeliveryParcel, EVENT, HOPS, MadeExchange, USER_AGENT, UnsendableReason,
};
use super::exchange_record::{REQUEST_NOTE, add_note, headers_json};
use super::judge::AttemptAnswer;
use super::message_parts::MessageParts;
use super::templated::{extend_uri, with_subject};
use crate::channels::ChannelOutcome;
use crate::channels::api_channel::{ApiOperation, ApiOperations};
use crate::json::storable::make_storable;
use crate::model::attributes::{OPERATION, SentWith};
use crate::model::body_template::TemplateFault;
use crate::model::envelope::{JSON, RenderedBody};
use crate::model::private_values::mask_url;
use crate::model::request_template::TemplatedRequest;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::ClientRequest;
use crate::settings::endpoint_runtime::EndpointRuntime;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::borrow::Cow;
use std::time::Duration;

/// Same value for all attempts of a delivery (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request that an operation would send, without secrets.
#[derive(Debug)]
pub struct ShownRequest {
    pub method: Method,
    pub url: String,
    /// A JSON object.
    pub headers: String,
    pub body: RenderedBody,
}

/// The requests of one attempt.
#[derive(Debug)]
pub struct PreparedCall<'o> {
    pub operation: &'o ApiOperation,
    pub request: ClientRequest,
    /// The question whether an earlier attempt succeeded, and the JSON pointer to the id in its
    /// answer.
    pub again: Option<(ClientRequest, &'o str)>,
    /// Hops of the event that the answer becomes.
    pub hops: u32,
}

/// Returns the request that an operation would send, without secrets. The error says why nothing
/// would be sent.
pub fn preview_operation(
    target: &EndpointRuntime,
    operations: &ApiOperations,
    parcel: DeliveryParcel<'_>,
) -> Result<ShownRequest, String> {
    let call = prepare_call(target, operations, parcel).map_err(|why| why.to_string())?;
    let request = call.request;
    let content_type = request.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(ShownRequest {
        url: mask_url(&request.uri.to_string()),
        headers: headers_json(request.headers.iter(), |name| target.headers.contains_key(name)),
        body: RenderedBody {
            body: request.body.to_vec(),
            content_type: Cow::Owned(content_type.to_owned()),
            headers: Vec::new(),
        },
        method: request.method,
    })
}

/// The reason why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum UnpreparedReason {
    /// Another attempt would fail in the same way.
    #[error("{0}")]
    NoOperation(String),
    #[error(transparent)]
    Unsendable(#[from] UnsendableReason),
}

impl UnpreparedReason {
    /// Returns the failed exchange for the record.
    pub fn exchange(&self) -> MadeExchange {
        let (answer, error) = match self {
            Self::NoOperation(why) => {
                let dead = ChannelOutcome::Dead { class: ErrorClass::Rejected };
                (AttemptAnswer::Channel(dead), why.clone())
            }
            Self::Unsendable(why) => {
                let error = attempt::unsendable(why);
                (AttemptAnswer::Failed(error.class), error.detail)
            }
        };
        MadeExchange {
            answer,
            duration: Duration::ZERO,
            status: None,
            error: Some(make_storable(error)),
            request_headers: "{}".to_owned(),
            response_headers: None,
            response_body: None,
        }
    }
}

/// Builds the requests of an attempt.
pub fn prepare_call<'o>(
    target: &EndpointRuntime,
    operations: &'o ApiOperations,
    parcel: DeliveryParcel<'_>,
) -> Result<PreparedCall<'o>, UnpreparedReason> {
    let id = parcel.id.to_string();
    let sent_with = SentWith::read(parcel.event.attributes.as_deref());
    let map = target.endpoint.settings.field_map.as_ref();
    let parts =
        MessageParts::new(map, parcel, &id, &sent_with).map_err(UnsendableReason::FieldMap)?;
    let message = parts.message();
    let attributes = parcel.message.map(|message| message.attributes.as_slice());
    let named = attributes.unwrap_or_default().iter().rev().find(|(name, _)| name == OPERATION);
    let named = named.map(|(_, operation)| operation.as_str());
    let operation = operations
        .choose_operation(parcel.event_type(), named)
        .map_err(UnpreparedReason::NoOperation)?;
    let merged = parcel.message.and_then(|message| message.merged_attributes(parcel.event));
    let own = parcel.event.attributes.as_ref().map(|own| own.get());
    let (request, again) = with_subject(&message, merged.as_deref().or(own), |subject| {
        let again = if parcel.may_be_repeat { operation.render_again(subject)? } else { None };
        Ok((operation.render_request(subject)?, again))
    })
    .map_err(|fault: TemplateFault| UnsendableReason::Template(fault.into()))?;
    let hops = sent_with.hops.saturating_add(1);
    let builder = CallBuilder { target, base: operations, parcel, sent_with: &sent_with };
    let mut request = builder.build_request(operation.http_method(), request)?;
    let key = HeaderValue::try_from(id.as_str()).map_err(UnsendableReason::Header)?;
    request.headers.insert(IDEMPOTENCY_KEY, key);
    let again = match again {
        Some((question, found)) => Some((builder.build_request(Method::GET, question)?, found)),
        None => None,
    };
    Ok(PreparedCall { operation, request, again, hops })
}

struct CallBuilder<'a> {
    target: &'a EndpointRuntime,
    base: &'a ApiOperations,
    parcel: DeliveryParcel<'a>,
    sent_with: &'a SentWith,
}

impl CallBuilder<'_> {
    fn build_request(
        &self,
        method: Method,
        request: TemplatedRequest,
    ) -> Result<ClientRequest, UnsendableReason> {
        let Self { target, parcel, sent_with, .. } = self;
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
        headers.extend(target.headers.clone());
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(EVENT, HeaderValue::try_from(parcel.event_type())?);
        headers.insert(ATTEMPT, HeaderValue::from(parcel.number));
        headers.insert(HOPS, HeaderValue::from(sent_with.hops.saturating_add(1)));
        parcel.insert_trace(sent_with, &mut headers)?;
        if request.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        let key = target.access.as_ref().and_then(|access| access.query.as_deref());
        let queries = [request.query.as_str(), key.unwrap_or_default()];
        Ok(ClientRequest {
            method,
            uri: extend_uri(&self.base.base, &request.path, &queries)?,
            headers,
            header_case: target.header_case.clone(),
            body: Bytes::from(request.body.unwrap_or_default()),
            permit: parcel.permit.cloned(),
            is_sent_once: true,
        })
    }
}

/// Returns the record of the request: its headers and its URL. Values that the operator set stay
/// hidden.
pub fn record_call(request: &ClientRequest, target: &EndpointRuntime) -> String {
    let headers = headers_json(request.headers.iter(), |name| target.headers.contains_key(name));
    let place = format!("{} {}", request.method, mask_url(&request.uri.to_string()));
    add_note(headers, REQUEST_NOTE, &place)
}
