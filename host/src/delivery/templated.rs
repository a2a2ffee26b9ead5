//! Builds the requests of endpoints that have a method or templates of their own.

use super::envelope;
use crate::expression::event_subject::EventSubject;
use crate::json::canonical::CanonicalError;
use crate::model::body_template::TemplateFault;
use crate::model::envelope::{EnvelopeForm, EnvelopeMessage, RenderedBody};
use crate::model::request_template::RequestTemplate;
use http::Uri;
use std::borrow::Cow;
use std::sync::OnceLock;

/// A body, and the path and query to append to the URL. Both are percent-encoded.
#[derive(Debug)]
pub struct RenderedRequest {
    pub body: RenderedBody,
    pub path: String,
    pub query: String,
}

impl RenderedRequest {
    /// Returns a request to the URL as it is set.
    pub const fn plain(body: RenderedBody) -> Self {
        Self { body, path: String::new(), query: String::new() }
    }
}

/// Why no request can be made of an event.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error(transparent)]
    Value(#[from] TemplateFault),
    #[error("the templates cannot be read: {0}")]
    Unread(String),
    #[error("the URL with its path and query is not a URL")]
    Address,
    #[error(transparent)]
    Envelope(#[from] CanonicalError),
}

/// Renders the request of a message. The message's data has already passed the field map. The body
/// comes from the template if there is one, or else from the envelope. `DELETE` has a body only
/// with a template.
pub fn render_templated(
    template: &Result<RequestTemplate, String>,
    form: EnvelopeForm,
    message: &EnvelopeMessage<'_>,
    attributes: Option<&str>,
) -> Result<RenderedRequest, TemplateError> {
    let template = template.as_ref().map_err(|why| TemplateError::Unread(why.clone()))?;
    let made = with_subject(message, attributes, |subject| template.render(subject))?;
    let body = match made.body {
        Some(body) => RenderedBody::json(body),
        None if template.is_bodiless() => {
            RenderedBody { body: Vec::new(), content_type: Cow::Borrowed(""), headers: Vec::new() }
        }
        None => envelope::render_envelope(form, message)?,
    };
    Ok(RenderedRequest { body, path: made.path, query: made.query })
}

/// Shows a message to templates.
pub fn with_subject<T>(
    message: &EnvelopeMessage<'_>,
    attributes: Option<&str>,
    render: impl FnOnce(&EventSubject<'_>) -> T,
) -> T {
    let changes = message.changed.zip(message.previous);
    let changes = changes
        .map(|(changed, previous)| format!(r#"{{"changed":{changed},"previous":{previous}}}"#));
    let subject = EventSubject {
        event_type: message.event_type,
        source: message.source,
        resource: message.resource,
        record_id: message.resource_id,
        data: message.data,
        changes: changes.as_deref(),
        attributes,
        members: OnceLock::new(),
    };
    render(&subject)
}

/// Appends a path and queries to a URL. Empty ones change nothing. Fails if the result is not a
/// URL.
pub fn extend_uri(uri: &Uri, path: &str, queries: &[&str]) -> Result<Uri, TemplateError> {
    let mut target = match path {
        "" => uri.path().to_owned(),
        path => format!("{}{path}", uri.path().trim_end_matches('/')),
    };
    let queries = uri.query().into_iter().chain(queries.iter().copied());
    let queries: Vec<&str> = queries.filter(|query| !query.is_empty()).collect();
    if !queries.is_empty() {
        target.push('?');
        target.push_str(&queries.join("&"));
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_opaque| TemplateError::Address)?);
    Uri::from_parts(parts).map_err(|_opaque| TemplateError::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_extended_by_path_and_query() {
        for (url, path, queries, wanted) in [
            ("https://h.example/", "/leads/17", &[][..], "https://h.example/leads/17"),
            ("https://h.example/api/", "/x", &["a=1"], "https://h.example/api/x?a=1"),
            (
                "https://h.example/api?k=1",
                "/x",
                &["a=1", "b=2"],
                "https://h.example/api/x?k=1&a=1&b=2",
            ),
            ("https://h.example/api", "", &["", "b=2"], "https://h.example/api?b=2"),
        ] {
            let uri: Uri = url.parse().unwrap();
            assert_eq!(extend_uri(&uri, path, queries).unwrap().to_string(), wanted);
        }
    }
}
