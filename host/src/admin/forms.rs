//! The fields of a form that a page sent.

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

/// Longest form without a file of somebody who is signed in, in bytes. A form that changes settings
/// holds them twice: as they were, and as they shall be.
const LONGEST_FORM: usize = 256 * 1024;
/// Longest form of anybody else.
const LONGEST_OF_STRANGER: usize = 64 * 1024;
/// Room for the texts of a form beside its file, in bytes.
const BESIDE_FILE: usize = 16 * 1024;
/// Most fields of a form.
const MOST_FIELDS: usize = 1_000;

/// The fields of a form, and the file that came with it. The guard read them before the handler
/// runs, because it looks for the session's form key among them.
#[derive(Debug, Clone, Default)]
pub struct FormFields {
    texts: Vec<(String, String)>,
    file: Option<Bytes>,
}

impl FormFields {
    /// The text of a field; none where it was left empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.texts.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.trim()).filter(|text| !text.is_empty())
    }

    /// All texts of a field that may be chosen several times.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let own = self.texts.iter().filter(|(known, _)| known == name);
        own.map(|(_, text)| text.as_str()).collect()
    }

    /// The same as a text of its own.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// The text of a field that must be filled in.
    pub fn required(&self, name: &str) -> Result<&str, ApiProblem> {
        self.text(name).ok_or_else(|| ApiProblem::fault(name, "is empty; fill it in"))
    }

    /// The fields whose names begin so, with their texts.
    pub fn beginning_with(&self, start: &str) -> impl Iterator<Item = (&str, &str)> {
        let own = self.texts.iter().filter(move |(known, _)| known.starts_with(start));
        own.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Whether the form holds a field of this name, such as that of the button that sent it.
    pub fn has(&self, name: &str) -> bool {
        self.texts.iter().any(|(known, _)| known == name)
    }

    /// Fields of these texts, for a test.
    #[cfg(test)]
    pub fn of_texts(texts: impl Iterator<Item = (String, String)>) -> Self {
        Self { texts: texts.collect(), file: None }
    }

    /// The file.
    pub fn file(&self) -> Option<Bytes> {
        self.file.clone()
    }
}

impl<S: Sync> FromRequestParts<S> for FormFields {
    type Rejection = super::call::PageProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let read = parts.extensions.get::<Self>().cloned();
        read.ok_or_else(|| ApiProblem::malformed_request("this takes a form").into())
    }
}

/// Takes the form out of a request, within bounds of bytes and time.
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

/// Whether somebody who is signed in sends the form. Nobody else may send a file.
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
    Err(ApiProblem::malformed_request(format!("a form has at most {MOST_FIELDS} fields")))
}
