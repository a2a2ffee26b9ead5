//! Reads the fields of a form that a page sent.

use crate::api::AppState;
use crate::api::auth::CallPrincipal;
use crate::api::body::read_body;
use crate::api::problem::ApiProblem;
use axum::body::Body;
use axum::extract::multipart::Multipart;
use axum::extract::{FromRequest as _, FromRequestParts, Request};
use bytes::Bytes;
use http::header;
use http::request::Parts;

/// Longest form without a file from a person who is signed in, in bytes. A form that changes
/// settings contains them twice: as they were, and as they shall be.
const LONGEST_FORM: usize = 256 * 1024;
/// Longest form from anybody else, in bytes.
const LONGEST_OF_STRANGER: usize = 64 * 1024;
/// Room for the texts of a form beside its file, in bytes.
const BESIDE_FILE: usize = 16 * 1024;
/// Most fields of a form.
const MOST_FIELDS: usize = 1_000;

/// The fields of a form, and its file. The guard reads them before the handler runs, because it
/// checks the session's form key among them.
#[derive(Debug, Clone, Default)]
pub struct FormFields {
    texts: Vec<(String, String)>,
    file: Option<Bytes>,
}

impl FormFields {
    /// Returns the text of a field, or `None` if it was left empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.texts.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.trim()).filter(|text| !text.is_empty())
    }

    /// Returns all texts of a field with several choices.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let own = self.texts.iter().filter(|(known, _)| known == name);
        own.map(|(_, text)| text.as_str()).collect()
    }

    /// Returns the text of a field as an owned string.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// Returns the text of a required field. Fails with a fault at that field if it is empty.
    pub fn required(&self, name: &str) -> Result<&str, ApiProblem> {
        self.text(name).ok_or_else(|| ApiProblem::fault(name, "is empty; fill it in"))
    }

    /// Returns the fields with this prefix in their names, with their texts.
    pub fn beginning_with(&self, start: &str) -> impl Iterator<Item = (&str, &str)> {
        let own = self.texts.iter().filter(move |(known, _)| known.starts_with(start));
        own.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Whether the form contains a field of this name, such as the button that sent it.
    pub fn has(&self, name: &str) -> bool {
        self.texts.iter().any(|(known, _)| known == name)
    }

    /// Makes fields for a test.
    #[cfg(test)]
    pub fn of_texts(texts: impl Iterator<Item = (String, String)>) -> Self {
        Self { texts: texts.collect(), file: None }
    }

    /// Returns the file, if one was sent.
    pub fn file(&self) -> Option<Bytes> {
        self.file.clone()
    }
}

impl<S: Sync> FromRequestParts<S> for FormFields {
    type Rejection = super::call::PageProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let read = parts.extensions.get::<Self>().cloned();
        read.ok_or_else(|| {
            ApiProblem::malformed_request(
                "this address accepts only a form; open its page and send the form there",
            )
            .into()
        })
    }
}

/// Reads the form from a request, with bounds on bytes and time.
pub async fn read_form(app: &AppState, request: Request) -> Result<FormFields, ApiProblem> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let kind_text = kind.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind_text.starts_with("multipart/form-data") && is_known(&request) {
        let limit = app.live.engine().limits().upload_bytes + BESIDE_FILE;
        let body = read_body(app, request, limit).await?;
        let mut request = Request::new(Body::from(body));
        request.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
        return read_parts(request).await;
    }
    if !kind_text.starts_with("application/x-www-form-urlencoded") {
        return Err(ApiProblem::media_type("a page sends application/x-www-form-urlencoded"));
    }
    let longest = if is_known(&request) { LONGEST_FORM } else { LONGEST_OF_STRANGER };
    let body = read_body(app, request, longest).await?;
    let texts: Vec<(String, String)> = serde_urlencoded::from_bytes(&body)
        .map_err(|error| ApiProblem::malformed_request(format!("not a form: {error}")))?;
    check_count(texts.len())?;
    Ok(FormFields { texts, file: None })
}

/// Whether the sender is signed in. Nobody else may send a file.
fn is_known(request: &Request) -> bool {
    request.extensions().get::<CallPrincipal>().is_some()
}

async fn read_parts(request: Request) -> Result<FormFields, ApiProblem> {
    let wrong = |text: String| ApiProblem::malformed_request(format!("not a form: {text}"));
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|rejection| wrong(rejection.body_text()))?;
    let mut fields = FormFields::default();
    while let Some(part) = parts.next_field().await.map_err(|error| wrong(error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let bytes = part.bytes().await.map_err(|error| wrong(error.body_text()))?;
        if is_file {
            fields.file = Some(bytes).filter(|bytes| !bytes.is_empty());
        } else {
            fields.texts.push((name, String::from_utf8_lossy(&bytes).into_owned()));
            check_count(fields.texts.len())?;
        }
    }
    Ok(fields)
}

fn check_count(count: usize) -> Result<(), ApiProblem> {
    if count <= MOST_FIELDS {
        return Ok(());
    }
    Err(ApiProblem::malformed_request(format!(
        "the form has too many fields; at most {MOST_FIELDS} are allowed"
    )))
}
