//! `waybill listen --remote`: fetches the deliveries of an endpoint of kind `pull`, prints them or
//! forwards them to a local receiver, and commits what was taken.

use super::client::{CallBody, RemoteServer, ServerClient, escape_path};
use super::listen::{ListenArrival, print_arrival};
use super::{CliError, CommandScreen};
use crate::error_chain::error_chain;
use crate::time::clock::Clock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Deliveries of one page. All of them can be forwarded within the lease.
const LIMIT: u32 = 10;
/// How long a page is leased, in seconds.
const LEASE_SECONDS: u32 = 60;
/// Longest wait for the local receiver.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after an empty page, and before the server is asked again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `waybill listen --remote`.
#[derive(Debug, Default, Args)]
pub struct RemoteArgs {
    /// Fetch the deliveries of an endpoint of kind pull from the server at this URL, instead of
    /// listening.
    #[arg(long, value_name = "URL", requires = "endpoint", conflicts_with_all = ["fail", "port"])]
    remote: Option<String>,
    /// Id or name of that endpoint.
    #[arg(long, value_name = "ENDPOINT", requires = "remote")]
    endpoint: Option<String>,
    /// Post each delivery to this URL, and commit those that it answers with a 2xx. Without it all
    /// are committed.
    #[arg(long, value_name = "URL", requires = "remote")]
    forward: Option<Uri>,
    /// Token with the scope deliveries:pull.
    #[arg(long, value_name = "TOKEN", env = "WAYBILL_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// PEM file of the remote server's own certificate authority.
    #[arg(long, value_name = "FILE", env = "WAYBILL_CA_FILE")]
    ca: Option<PathBuf>,
}

impl RemoteArgs {
    /// Returns whether deliveries are fetched.
    pub const fn is_used(&self) -> bool {
        self.remote.is_some()
    }
}

/// A page as the server sends it.
#[derive(Debug, Default, Deserialize)]
struct FetchedPage {
    data: Vec<FetchedDelivery>,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FetchedDelivery {
    id: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
}

impl FetchedDelivery {
    fn header_map(&self) -> HeaderMap {
        let pairs = self.headers.iter();
        let read = |(name, value): (&String, &String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        pairs.filter_map(read).collect()
    }

    fn body_bytes(&self) -> Bytes {
        let binary = self.body_base64.as_ref().and_then(|text| BASE64_STANDARD.decode(text).ok());
        let text = || self.body.clone().unwrap_or_default().into_bytes();
        Bytes::from(binary.unwrap_or_else(text))
    }
}

/// Fetches and commits until `stop`.
pub async fn fetch_deliveries(
    args: RemoteArgs,
    secret: Option<SecretString>,
    clock: Clock,
    stop: impl Future<Output = ()>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let (Some(remote), Some(endpoint)) = (args.remote, args.endpoint) else {
        return Err(CliError::Usage("--remote needs --endpoint".to_owned()));
    };
    let token = args.token.ok_or_else(|| {
        let what = "a remote server needs a token: give --token or WAYBILL_TOKEN";
        CliError::Usage(what.to_owned())
    })?;
    let server = RemoteServer::to(&remote, token.expose_secret()).trusting(args.ca);
    let client = server.connect(screen)?;
    let forwarder = args.forward.map(LocalForwarder::new).transpose()?;
    screen.print_line(format!(
        "fetching the deliveries of {endpoint} from {remote}; Ctrl-C ends it"
    ))?;
    let path = format!("/pull/{}", escape_path(&endpoint));
    let fetcher = RemoteFetcher { client, path, forwarder, secret, clock };
    tokio::pin!(stop);
    loop {
        let is_idle = tokio::select! {
            page = fetcher.fetch_page(screen) => page?,
            () = &mut stop => return Ok(()),
        };
        if is_idle {
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = &mut stop => return Ok(()),
            }
        }
    }
}

struct RemoteFetcher {
    client: ServerClient,
    /// The path of the endpoint's pages.
    path: String,
    forwarder: Option<LocalForwarder>,
    secret: Option<SecretString>,
    clock: Clock,
}

impl RemoteFetcher {
    /// Fetches, shows and commits one page. Returns whether there was none.
    async fn fetch_page(&self, screen: &mut CommandScreen<'_>) -> Result<bool, CliError> {
        let path = format!("{}?limit={LIMIT}&lease={LEASE_SECONDS}s", self.path);
        let answer = self.client.read_answer(Method::GET, &path, CallBody::None).await;
        let Some(answer) = say_if_away(answer, screen)? else { return Ok(true) };
        let page: FetchedPage = serde_json::from_value(answer)
            .map_err(|why| CliError::failed(format!("the page cannot be read: {why}")))?;
        let Some(cursor) = page.cursor else { return Ok(true) };
        let mut failed = BTreeMap::new();
        for delivery in &page.data {
            if let Err(why) = self.take_delivery(delivery, screen).await? {
                failed.insert(delivery.id.clone(), why);
            }
        }
        let commit = CallBody::Json(json!({"cursor": cursor, "failed": failed}));
        let path = format!("{}/commit", self.path);
        let committed = self.client.call_api(Method::POST, &path, commit).await;
        // If the commit is lost, the deliveries come again under the same ids.
        Ok(say_if_away(committed, screen)?.is_none())
    }

    /// Forwards and prints a delivery. The inner error says why it was not taken.
    async fn take_delivery(
        &self,
        delivery: &FetchedDelivery,
        screen: &mut CommandScreen<'_>,
    ) -> Result<Result<(), String>, CliError> {
        let (headers, body) = (delivery.header_map(), delivery.body_bytes());
        let taken = match &self.forwarder {
            Some(forwarder) => forwarder.post(&headers, body.clone()).await,
            None => Ok("committed".to_owned()),
        };
        let outcome = match &taken {
            Ok(answer) => answer.clone(),
            Err(why) => format!("{why}; it comes again"),
        };
        let arrival = ListenArrival { at: self.clock.now(), headers, body, outcome };
        print_arrival(&arrival, self.secret.as_ref(), screen)?;
        Ok(taken.map(drop))
    }
}

/// Says that the server is away. Returns other errors, and `None` if the call is worth repeating.
fn say_if_away<T>(
    answer: Result<T, CliError>,
    screen: &mut CommandScreen<'_>,
) -> Result<Option<T>, CliError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(CliError::Unreachable { server, source, .. }) => {
            let why = error_chain(source.as_ref());
            screen.print_line(format!("no answer from {server}: {why}; trying again"))?;
            Ok(None)
        }
        Err(CliError::Problem(problem)) if [429, 503].contains(&problem.status) => {
            screen.print_line(format!("{}; trying again", problem.title))?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Posts deliveries to a receiver on the developer's machine.
struct LocalForwarder {
    url: Uri,
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl LocalForwarder {
    fn new(url: Uri) -> Result<Self, CliError> {
        if url.host().is_none() {
            let what = "--forward needs a whole URL, such as http://127.0.0.1:3000/hook";
            return Err(CliError::Usage(what.to_owned()));
        }
        let trusted = crate::net::tls_trust::client_config(None)
            .map_err(|why| CliError::failed(format!("cannot prepare TLS: {why}")))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusted)
            .https_or_http()
            .enable_all_versions()
            .build();
        Ok(Self { url, pool: Pool::builder(TokioExecutor::new()).build(connector) })
    }

    /// Posts a delivery. Returns the answer in words, or why the delivery was not taken.
    async fn post(&self, headers: &HeaderMap, body: Bytes) -> Result<String, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.url);
        request.headers_mut().clone_from(headers);
        request.headers_mut().remove(header::HOST);
        let answered = timeout(PATIENCE, self.pool.request(request)).await;
        let answer = answered.map_err(|_late| format!("no answer from {} within 5 s", self.url))?;
        let answer =
            answer.map_err(|why| format!("no answer from {}: {}", self.url, error_chain(&why)))?;
        let told = |status: StatusCode| format!("answered {}", status.as_u16());
        if answer.status().is_success() {
            Ok(told(answer.status()))
        } else {
            Err(told(answer.status()))
        }
    }
}
