//! The client of the REST interface for the command line.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::error::ProblemDocument;
use super::{CliError, CommandScreen};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_mins(2);
/// Elements of a list that one call fetches: the server's limit.
const PAGE: usize = 200;

/// Largest answer outside the REST interface, in bytes.
const ROOT_BYTES: usize = 4 << 20;

/// The server to call, and the token for it.
#[derive(Debug, Args)]
pub struct RemoteServer {
    /// URL of the server.
    #[arg(
        long,
        value_name = "URL",
        env = "WAYBILL_URL",
        default_value = "http://127.0.0.1:8400",
        global = true
    )]
    server: String,
    /// Token [default: the first admin token, `WAYBILL_ADMIN_TOKEN`].
    #[arg(
        long,
        value_name = "TOKEN",
        env = "WAYBILL_TOKEN",
        hide_env_values = true,
        global = true
    )]
    token: Option<SecretString>,
    /// PEM file of the server's own certificate authority.
    #[arg(long, value_name = "FILE", env = "WAYBILL_CA_FILE", global = true)]
    ca: Option<std::path::PathBuf>,
    #[arg(long, env = "WAYBILL_ADMIN_TOKEN", hide = true, hide_env_values = true, global = true)]
    admin_token: Option<SecretString>,
    /// Print JSON on a terminal too.
    #[arg(long, global = true)]
    pub json: bool,
}

impl RemoteServer {
    /// Names a server and a token.
    pub fn to(server: &str, token: &str) -> Self {
        let token = Some(SecretString::from(token.to_owned()));
        Self { server: server.to_owned(), token, ca: None, admin_token: None, json: false }
    }

    /// Trusts the authority of a PEM file too.
    #[must_use]
    pub fn trusting(mut self, ca: Option<std::path::PathBuf>) -> Self {
        self.ca = ca;
        self
    }

    /// Creates a client for the server. With `--json` it also switches the screen to JSON.
    pub fn connect(self, screen: &mut CommandScreen<'_>) -> Result<ServerClient, CliError> {
        screen.force_json(self.json);
        let server = self.server.trim_end_matches('/').to_owned();
        let unusable = |file: &std::path::Path, error: &dyn std::fmt::Display| {
            CliError::Usage(format!("cannot use {} as --ca: {error}", file.display()))
        };
        let read =
            |file: &std::path::PathBuf| std::fs::read(file).map_err(|error| unusable(file, &error));
        let ca = self.ca.as_ref().map(read).transpose()?;
        let trusted = crate::net::tls_trust::client_config(ca.as_deref()).map_err(|error| {
            unusable(self.ca.as_deref().unwrap_or_else(|| std::path::Path::new("")), &error)
        })?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusted)
            .https_or_http()
            .enable_all_versions()
            .build();
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Ok(ServerClient { server, token: self.token.or(self.admin_token), pool })
    }
}

/// Makes calls to one server.
#[derive(Debug)]
pub struct ServerClient {
    server: String,
    token: Option<SecretString>,
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// The body of a call.
#[derive(Debug)]
pub enum CallBody {
    /// No body.
    None,
    Json(Value),
    Wasm(Bytes),
}

impl ServerClient {
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Gets a path outside the REST interface, such as `/readyz`. Returns the status, and the
    /// answer if it is JSON.
    pub async fn ask_root(&self, path: &str) -> Result<(u16, Value), CliError> {
        let request = Request::get(format!("{}{path}", self.server)).body(Full::default());
        let request = request.map_err(|error| self.refuse_url(&error))?;
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|e| self.describe_failure(e))?;
            let status = answer.status().as_u16();
            let limited = Limited::new(answer.into_body(), ROOT_BYTES);
            let body = limited.collect().await.map_err(|e| self.describe_failure(e))?.to_bytes();
            Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        answer.unwrap_or_else(|elapsed| Err(self.describe_failure(elapsed)))
    }

    /// Posts JSON with the token to a path outside the REST interface. Returns the status and the
    /// unchanged answer, at most [`ROOT_BYTES`] of it.
    pub async fn post_message(
        &self,
        path: &str,
        message: Bytes,
    ) -> Result<(StatusCode, Bytes), CliError> {
        let mut request = Request::post(format!("{}{path}", self.server))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let request = request.body(Full::new(message)).map_err(|error| self.refuse_url(&error))?;
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|e| self.describe_failure(e))?;
            let status = answer.status();
            let limited = Limited::new(answer.into_body(), ROOT_BYTES);
            let body = limited.collect().await.map_err(|e| self.describe_failure(e))?.to_bytes();
            Ok((status, body))
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        answer.unwrap_or_else(|elapsed| Err(self.describe_failure(elapsed)))
    }

    fn refuse_url(&self, error: &http::Error) -> CliError {
        CliError::Usage(format!("{} is not a URL of a server: {error}", self.server))
    }

    /// Calls `path` under `/api/v1`. Returns the answer's `data`, or the whole answer if it has
    /// none.
    pub async fn call_api(
        &self,
        method: Method,
        path: &str,
        body: CallBody,
    ) -> Result<Value, CliError> {
        let mut answer = self.read_answer(method, path, body).await?;
        Ok(answer.get_mut("data").map(Value::take).unwrap_or(answer))
    }

    /// Like [`ServerClient::call_api`], but returns the whole answer.
    pub async fn read_answer(
        &self,
        method: Method,
        path: &str,
        body: CallBody,
    ) -> Result<Value, CliError> {
        let bytes = self.download_bytes(method, path, body).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::with_next(
                format!("{} sent an answer that is not JSON: {error}", self.server),
                "check that the URL is that of a Waybill server",
            )
        })
    }

    /// Like [`ServerClient::call_api`], but returns the unchanged body of the answer.
    pub async fn download_bytes(
        &self,
        method: Method,
        path: &str,
        body: CallBody,
    ) -> Result<Bytes, CliError> {
        let exchange = async {
            let (head, body) = self.send_request(method, path, body).await?.into_parts();
            let body = body.collect().await.map_err(|e| self.describe_failure(e))?.to_bytes();
            Ok::<_, CliError>(Response::from_parts(head, body))
        };
        let answer = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|elapsed| self.describe_failure(elapsed))??;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        Err(CliError::Problem(Box::new(problem(&answer))))
    }

    /// Gets data of any length and writes it out as it arrives.
    pub async fn copy_to_screen(
        &self,
        path: &str,
        screen: &mut CommandScreen<'_>,
    ) -> Result<(), CliError> {
        let (head, mut body) =
            self.send_request(Method::GET, path, CallBody::None).await?.into_parts();
        if !head.status.is_success() {
            let body = body.collect().await.map_err(|e| self.describe_failure(e))?.to_bytes();
            return Err(CliError::Problem(Box::new(problem(&Response::from_parts(head, body)))));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.describe_failure(error))?;
            if let Some(data) = frame.data_ref() {
                screen.print_bytes(data)?;
            }
        }
        Ok(())
    }

    async fn send_request(
        &self,
        method: Method,
        path: &str,
        body: CallBody,
    ) -> Result<Response<Incoming>, CliError> {
        let request = self.build_request(method, path, body)?;
        self.pool.request(request).await.map_err(|error| self.describe_failure(error))
    }

    fn describe_failure(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CliError {
        CliError::Unreachable { server: self.server.clone(), source: source.into(), exit_status: 1 }
    }

    fn build_request(
        &self,
        method: Method,
        path: &str,
        body: CallBody,
    ) -> Result<Request<Full<Bytes>>, CliError> {
        let uri = format!("{}/api/v1{path}", self.server);
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let body = match body {
            CallBody::None => Bytes::new(),
            CallBody::Json(value) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(value.to_string())
            }
            CallBody::Wasm(bytes) => {
                request = request.header(CONTENT_TYPE, "application/wasm");
                bytes
            }
        };
        let built = request.body(Full::new(body));
        built.map_err(|error| self.refuse_url(&error))
    }

    /// Returns up to `most` elements of a list, in the server's order: newest first.
    pub async fn list_pages(
        &self,
        path: &str,
        query: &QueryParameters,
        most: usize,
    ) -> Result<Vec<Value>, CliError> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        while found.len() < most {
            let mut query = query.clone();
            query.add("limit", Some((most - found.len()).min(PAGE).to_string()));
            query.add("cursor", cursor.take());
            let mut answer =
                self.read_answer(Method::GET, &format!("{path}{query}"), CallBody::None).await?;
            if let Some(Value::Array(page)) = answer.get_mut("data").map(Value::take) {
                found.extend(page);
            }
            cursor = answer.pointer("/meta/next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }
}

/// Parameters after the question mark.
#[derive(Debug, Clone, Default)]
pub struct QueryParameters(Vec<(&'static str, String)>);

impl QueryParameters {
    /// Adds a parameter if it has a value.
    pub fn add(&mut self, name: &'static str, value: Option<String>) {
        self.0.extend(value.map(|value| (name, value)));
    }
}

impl std::fmt::Display for QueryParameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(f, "{separator}{name}={}", escape_path(value))?;
        }
        Ok(())
    }
}

/// Escapes a text for one segment of a path or for a value of a query.
pub fn escape_path(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn problem(response: &Response<Bytes>) -> ProblemDocument {
    let status = response.status();
    let mut problem: ProblemDocument = serde_json::from_slice(response.body()).unwrap_or_default();
    problem.status = status.as_u16();
    if problem.title.is_empty() {
        status.canonical_reason().unwrap_or("refused").clone_into(&mut problem.title);
    }
    if problem.detail.is_empty() && status == StatusCode::NOT_FOUND {
        "the server has nothing at this address".clone_into(&mut problem.detail);
    }
    let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    problem.request_id = id.map(str::to_owned);
    problem
}
