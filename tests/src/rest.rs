//! The REST API from a user's view: JSON in, an [`Answer`] out.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

/// Longest time for an answer of the server.
const ANSWER_LIMIT: Duration = Duration::from_mins(3);

/// One caller of one server.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A request: a method, a path, and optional headers and body.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// The answer of the server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Call {
    /// Creates a request with an empty body.
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Creates a POST of raw bytes.
    pub fn post(path: &str, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::with_body(Method::POST, path, content_type, body)
    }

    /// Creates a request of raw bytes.
    pub fn with_body(
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self::untyped(method, path, body).header(CONTENT_TYPE.as_str(), content_type)
    }

    /// Creates a request of raw bytes without a content type.
    pub fn untyped(method: Method, path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(method, path) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn json(method: Method, path: &str, body: &Value) -> Self {
        Self::with_body(method, path, "application/json", body.to_string())
    }
}

impl Client {
    /// Creates a caller with this token of the server at `base` (`http://127.0.0.1:PORT`).
    pub fn new(base: &str, token: Option<&str>) -> Self {
        Self::with_roots(base, token, RootCertStore::empty())
    }

    /// Creates a caller of a server at `https://127.0.0.1:PORT` with this certificate.
    pub fn trusting(
        base: &str,
        token: Option<&str>,
        certificate: &CertificateDer<'static>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        Ok(Self::with_roots(base, token, roots))
    }

    fn with_roots(base: &str, token: Option<&str>, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .build();
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { base: base.to_owned(), token: token.map(str::to_owned), http }
    }

    /// Sends a request. Fails only if there is no complete answer.
    pub async fn send(&self, call: Call) -> Result<Answer> {
        let uri = format!("{}{}", self.base, call.path);
        let mut request = Request::builder().method(call.method).uri(&uri);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(call.body))?;
        let exchange = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .with_context(|| format!("{uri}: no answer within {ANSWER_LIMIT:?}"))?
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Call::new(Method::GET, path)).await
    }

    /// Sends a DELETE.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Call::new(Method::DELETE, path)).await
    }

    /// Sends a POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Call::json(Method::POST, path, body)).await
    }

    /// Sends a PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Call::json(Method::PUT, path, body)).await
    }

    /// Sends a PATCH of JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Call::json(Method::PATCH, path, body)).await
    }
}

impl Answer {
    /// Returns the body as JSON, or `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Returns the `data` of the body.
    pub fn data(&self) -> Value {
        self.json().get("data").cloned().unwrap_or(Value::Null)
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns a header's text, or an empty text if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
