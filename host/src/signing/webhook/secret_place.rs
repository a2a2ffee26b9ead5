//! Finds the secret that a webhook request carries in a header, its query or its body.

use super::form::form_fields;
use super::{WebhookRefusal, WebhookRequest, text};
use crate::json::members::{scalar_text, without_byte_order_mark};
use crate::json::pointer;
use crate::model::webhook_source::proof::TokenPlace;
use serde_json::value::RawValue;

/// An owned [`TokenPlace`].
pub enum SecretPlace {
    Header { name: String, prefix: String },
    Query(String),
    Body(String),
}

impl From<TokenPlace<'_>> for SecretPlace {
    fn from(place: TokenPlace<'_>) -> Self {
        match place {
            TokenPlace::Header { name, prefix } => {
                Self::Header { name: name.to_owned(), prefix: prefix.to_owned() }
            }
            TokenPlace::Query(name) => Self::Query(name.to_owned()),
            TokenPlace::Body(pointer) => Self::Body(pointer.to_owned()),
        }
    }
}

impl SecretPlace {
    /// Returns the secret of a request. Fails if the request has none at this place.
    pub fn find(&self, request: &WebhookRequest<'_>) -> Result<String, WebhookRefusal> {
        match self {
            Self::Header { name, prefix } => {
                let text = text(request.headers, name)?.strip_prefix(prefix.as_str());
                let form = || WebhookRefusal::Form(name.clone(), format!("{prefix}SECRET"));
                text.map(str::to_owned).ok_or_else(form)
            }
            Self::Query(name) => {
                let pairs: Vec<(String, String)> = request
                    .uri
                    .query()
                    .and_then(|query| serde_urlencoded::from_str(query).ok())
                    .unwrap_or_default();
                let value = pairs.into_iter().find(|(known, _)| known == name);
                let missing =
                    || WebhookRefusal::MissingToken(format!("the query's parameter `{name}`"));
                value.map(|(_, value)| value).ok_or_else(missing)
            }
            Self::Body(pointer) => find_in_body(request, pointer)
                .ok_or_else(|| WebhookRefusal::MissingToken(format!("the body's `{pointer}`"))),
        }
    }
}

/// Returns the text at this place of the body: of a JSON value or of a field of a form. In a JSON
/// array, every element must have the same text there.
fn find_in_body(request: &WebhookRequest<'_>, pointer: &str) -> Option<String> {
    let plain = without_byte_order_mark(request.plain);
    let find = |body: &RawValue| pointer::find_value(body, pointer).and_then(scalar_text);
    if let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(plain) {
        let first = find(elements.first()?)?;
        let is_of_all = elements.iter().all(|element| find(element).as_ref() == Some(&first));
        return is_of_all.then_some(first);
    }
    if let Ok(body) = serde_json::from_slice::<&RawValue>(plain) {
        return find(body);
    }
    let name = pointer::unescape_token(pointer.strip_prefix('/')?);
    let mut fields = form_fields(plain).ok()?.into_iter();
    fields.find(|(known, _)| *known == name).map(|(_, value)| value)
}
