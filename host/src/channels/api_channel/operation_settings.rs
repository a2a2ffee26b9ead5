//! The settings of one operation.

use crate::model::event::MAX_KEY;
use crate::model::fault::InputFault;
use crate::model::request_template::{RequestParts, RequestTemplate};
use crate::model::type_pattern::{OWN_TYPES, TypePattern, is_event_type};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest name of an operation, in bytes.
const MAX_NAME: usize = 64;
/// Longest JSON pointer, in bytes.
const MAX_POINTER: usize = 255;
/// Default body of a request that has one: the data of the event.
const WHOLE_DATA: &str = "=data";

/// Method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OperationMethod {
    /// Reads a record. The request has no body.
    Get,
    /// Creates a record.
    #[default]
    Post,
    /// Replaces a record.
    Put,
    /// Changes a part of a record.
    Patch,
    /// Deletes a record. The request has a body only if `body` is set.
    Delete,
}

impl OperationMethod {
    /// Returns the method for HTTP.
    pub const fn http_method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// The event of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplySettings {
    /// Type of the event that a 2xx answer becomes.
    #[schema(max_length = 128, example = "crm.lead.created")]
    pub event: String,
    /// Kind of record that the event is about. Default: the first segment of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, example = "lead")]
    pub resource: Option<String>,
    /// JSON pointer to the id of the record in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, example = "/data/id")]
    pub id: Option<String>,
}

/// A request that asks whether an earlier attempt succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgainSettings {
    /// Path of the GET request, with expressions in braces.
    #[schema(max_length = 2048, example = "/api/v1/leads")]
    pub path: String,
    /// Query of the request: texts, or expressions that begin with `=`. A value that is null or
    /// empty ends the delivery, because the API would list all records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"email": "=data.email"}))]
    pub query: BTreeMap<String, String>,
    /// JSON pointer to a value that a 2xx answer has only if an earlier attempt succeeded.
    #[schema(max_length = 255, example = "/data/0/id")]
    pub found: String,
}

/// An operation as an operator or a preset sets it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationSettings {
    /// Method of the request. Default: `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline, example = "POST")]
    pub method: Option<OperationMethod>,
    /// Path to append to the path of the URL. CEL expressions are written in braces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048, example = "/api/v1/leads/{id}")]
    pub path: Option<String>,
    /// Query to append to the query of the URL: texts, or expressions that begin with `=`. A
    /// parameter whose value is null is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<BTreeMap<String, String>>,
    /// Body of the request: any JSON value, in which texts that begin with `=` are expressions.
    /// Default: the data of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    pub body: Option<Value>,
    /// Event types that run the operation: exact names, `lead.*` or `*`. A module may name the
    /// operation instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub events: Vec<TypePattern>,
    /// Event that a 2xx answer becomes. Default: no event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub reply: Option<ReplySettings>,
    /// Request that asks whether an earlier attempt succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub again: Option<AgainSettings>,
}

impl OperationSettings {
    /// Returns the operation with its absent fields taken from another one.
    pub fn merge_over(self, base: Option<&Self>) -> Self {
        let Some(base) = base else { return self };
        Self {
            method: self.method.or(base.method),
            path: self.path.or_else(|| base.path.clone()),
            query: self.query.or_else(|| base.query.clone()),
            body: self.body.or_else(|| base.body.clone()),
            events: if self.events.is_empty() { base.events.clone() } else { self.events },
            reply: self.reply.or_else(|| base.reply.clone()),
            again: self.again.or_else(|| base.again.clone()),
        }
    }

    /// Returns the faults of an operation.
    pub fn check(&self, name: &str) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty()
            || name.len() > MAX_NAME
            || !name.bytes().all(|byte| is_known(byte) || byte == b'_' || byte == b'-')
        {
            let why = format!("must have 1 to {MAX_NAME} characters of a-z, 0-9, `_` and `-`");
            faults.push(InputFault::new("", why));
        }
        if self.path.is_none() {
            faults.push(InputFault::new("path", "an operation needs a path"));
        }
        if self.method == Some(OperationMethod::Get) && self.body.is_some() {
            faults.push(InputFault::new("body", "a GET has no body; leave it out"));
        }
        faults.extend(self.read_request().err().into_iter().flatten());
        if let Some(reply) = &self.reply {
            faults.extend(reply.check().into_iter().map(|fault| fault.within("reply")));
        }
        if let Some(again) = &self.again {
            faults.extend(again.check().into_iter().map(|fault| fault.within("again")));
        }
        faults
    }

    /// Reads the templates of the request.
    pub fn read_request(&self) -> Result<RequestTemplate, Vec<InputFault>> {
        let method = self.method.unwrap_or_default();
        let has_body = !matches!(method, OperationMethod::Get | OperationMethod::Delete);
        let whole = Value::from(WHOLE_DATA);
        let none = BTreeMap::new();
        RequestTemplate::read_parts(RequestParts {
            path: self.path.as_deref(),
            query: self.query.as_ref().unwrap_or(&none),
            body: self.body.as_ref().or(has_body.then_some(&whole)),
            is_bodiless: !has_body,
        })
    }
}

impl ReplySettings {
    fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if !is_event_type(&self.event) || self.event.starts_with(OWN_TYPES) {
            let why = format!("must be a dotted name that does not begin with `{OWN_TYPES}`");
            faults.push(InputFault::new("event", why));
        }
        let is_key = |text: &String| {
            !text.is_empty() && text.len() <= MAX_KEY && !text.chars().any(char::is_control)
        };
        if self.resource.as_ref().is_some_and(|resource| !is_key(resource)) {
            let why = format!("must have 1 to {MAX_KEY} bytes without control characters");
            faults.push(InputFault::new("resource", why));
        }
        faults.extend(self.id.as_deref().and_then(|id| check_pointer("id", id)));
        faults
    }
}

impl AgainSettings {
    fn check(&self) -> Vec<InputFault> {
        let mut faults = self.read_request().err().unwrap_or_default();
        faults.extend(check_pointer("found", &self.found));
        faults
    }

    /// Reads the templates of the request.
    pub fn read_request(&self) -> Result<RequestTemplate, Vec<InputFault>> {
        let (path, query) = (Some(self.path.as_str()), &self.query);
        RequestTemplate::read_parts(RequestParts { path, query, body: None, is_bodiless: true })
    }
}

fn check_pointer(place: &str, pointer: &str) -> Option<InputFault> {
    let is_pointer = pointer.starts_with('/') && pointer.len() <= MAX_POINTER;
    let why = "must be a JSON pointer, which begins with `/`, such as /data/id";
    (!is_pointer).then(|| InputFault::new(place, why))
}
