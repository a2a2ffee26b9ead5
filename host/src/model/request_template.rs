//! The request that an endpoint defines: its method, additions to the URL, and its body.

use crate::expression::event_subject::EventSubject;
use crate::expression::value_expression::ValueBudget;
use crate::model::body_template::{BodyTemplate, TemplateFault, TemplateValue};
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::EnvelopeForm;
use crate::model::fault::InputFault;
use crate::model::path_template::{PathTemplate, encode_component};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most bytes of JSON that the expressions of one request may produce.
const MAX_COMPUTED: usize = 4 * 1024 * 1024;
/// Longest path with its query, in bytes.
const MAX_ADDRESS: usize = 8 * 1024;
/// Most parameters of a query.
const MAX_QUERY: usize = 32;

/// The method of a delivery's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeliveryMethod {
    /// Creates something.
    #[default]
    Post,
    /// Replaces something.
    Put,
    /// Changes a part of something.
    Patch,
    /// Deletes something. The request has a body only if the endpoint sets `body`.
    Delete,
}

impl DeliveryMethod {
    /// Returns the HTTP method.
    pub const fn http_method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }

    /// Whether this is the default method.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub fn is_post(&self) -> bool {
        *self == Self::Post
    }
}

/// An endpoint's method and templates, parsed once.
#[derive(Debug)]
pub struct RequestTemplate {
    /// Whether the request has no body unless a template makes one.
    is_bodiless: bool,
    path: Option<PathTemplate>,
    query: Vec<(String, QueryValue)>,
    body: Option<BodyTemplate>,
}

#[derive(Debug)]
enum QueryValue {
    Text(String),
    Computed(TemplateValue),
}

/// The templates of a request as they are written.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    pub path: Option<&'a str>,
    pub query: &'a BTreeMap<String, String>,
    pub body: Option<&'a Value>,
    /// Whether the request has no body where `body` is `None`.
    pub is_bodiless: bool,
}

/// The result of rendering the templates for one event.
#[derive(Debug, PartialEq, Eq)]
pub struct TemplatedRequest {
    /// The text to append to the path of the URL, percent-encoded. Empty without a template.
    pub path: String,
    /// The text to append to the query of the URL, percent-encoded. Empty without a template.
    pub query: String,
    /// The body, if a template makes it.
    pub body: Option<Vec<u8>>,
}

impl RequestTemplate {
    /// Whether an endpoint has a method or a template of its own.
    pub fn is_used(settings: &EndpointSettings) -> bool {
        !settings.method.is_post()
            || settings.path.is_some()
            || !settings.query.is_empty()
            || settings.body.is_some()
    }

    /// Parses the templates of an endpoint. The faults name their places.
    pub fn read(settings: &EndpointSettings) -> Result<Self, Vec<InputFault>> {
        let read = Self::read_parts(RequestParts {
            path: settings.path.as_deref(),
            query: &settings.query,
            body: settings.body.as_ref(),
            is_bodiless: settings.method == DeliveryMethod::Delete,
        });
        if settings.body.is_none() || settings.envelope == EnvelopeForm::Default {
            return read;
        }
        let why = "`body` takes the place of the envelope; leave one of them out";
        let mut faults = read.err().unwrap_or_default();
        faults.push(InputFault::new("envelope", why));
        Err(faults)
    }

    /// Reads the templates of a request. The faults name the places.
    pub fn read_parts(parts: RequestParts<'_>) -> Result<Self, Vec<InputFault>> {
        let mut faults = Vec::new();
        let path = parts.path.map(PathTemplate::read).transpose();
        let path = path.unwrap_or_else(|found| {
            faults.extend(found);
            None
        });
        let body = parts.body.map(BodyTemplate::read).transpose();
        let body = body.unwrap_or_else(|found| {
            faults.extend(found);
            None
        });
        let query = read_query(parts.query, &mut faults);
        let is_bodiless = parts.is_bodiless;
        if faults.is_empty() { Ok(Self { is_bodiless, path, query, body }) } else { Err(faults) }
    }

    /// Whether the request has no body at all.
    pub fn is_bodiless(&self) -> bool {
        self.is_bodiless && self.body.is_none()
    }

    /// Renders the request for an event. Fails if any part cannot be computed.
    pub fn render(&self, subject: &EventSubject<'_>) -> Result<TemplatedRequest, TemplateFault> {
        let mut budget = ValueBudget::new(MAX_COMPUTED);
        let path = match &self.path {
            Some(path) => path.render(subject, &mut budget)?,
            None => String::new(),
        };
        let query = self.render_query(subject, &mut budget)?;
        if path.len() + query.len() > MAX_ADDRESS {
            let why = format!("the path and the query are longer than {MAX_ADDRESS} bytes");
            return Err(TemplateFault { place: "path".to_owned(), why });
        }
        let body = self.body.as_ref().map(|body| body.render(subject, &mut budget)).transpose()?;
        Ok(TemplatedRequest { path, query, body })
    }

    fn render_query(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
    ) -> Result<String, TemplateFault> {
        let mut pairs = Vec::with_capacity(self.query.len());
        for (name, value) in &self.query {
            let value = match value {
                QueryValue::Text(text) => Some(text.clone()),
                QueryValue::Computed(value) => value.write_text(subject, budget)?,
            };
            // A parameter with a null value is left out.
            let pair =
                |value: String| format!("{}={}", encode_component(name), encode_component(&value));
            pairs.extend(value.map(pair));
        }
        Ok(pairs.join("&"))
    }
}

fn read_query(
    written: &BTreeMap<String, String>,
    faults: &mut Vec<InputFault>,
) -> Vec<(String, QueryValue)> {
    if written.len() > MAX_QUERY {
        faults.push(InputFault::new("query", format!("at most {MAX_QUERY} parameters")));
        return Vec::new();
    }
    let mut query = Vec::new();
    for (name, text) in written {
        if name.is_empty() {
            faults.push(InputFault::new("query", "a parameter has an empty name"));
            continue;
        }
        match TemplateValue::read_marked(text, &format!("query.{name}")) {
            None => query.push((name.clone(), QueryValue::Text(text.clone()))),
            Some(Ok(value)) => query.push((name.clone(), QueryValue::Computed(value))),
            Some(Err(fault)) => faults.push(fault),
        }
    }
    query
}

#[cfg(test)]
mod tests;
