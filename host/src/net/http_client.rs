//! Makes HTTP requests: one request, one reply, no redirects. No other module of the server does.
//!
//! Connections are pooled per host. They speak HTTP/1.1, or HTTP/2 if TLS negotiates it, and only
//! go to addresses that the [`AddressPolicy`] allows ([`dial`]). Certificates are checked against
//! Mozilla's roots and the further ones of the configuration.
//!
//! A pooled connection that turns out to be closed does not cost an attempt. If it carried a
//! request before and no byte of an answer arrived, the request is sent again at once, on a new
//! connection and within the same time-out. The receiver recognises a repeat by its `webhook-id`.
//!
//! A delivery is judged only by the status of its reply. Its body is read for the record, at most
//! [`MAX_REPLY_BODY`] bytes, for at most [`BODY_WAIT`] after the headers and never beyond the
//! time-out. If a body is cut off, its connection is closed. A reply to a source
//! ([`DeliveryClient::get`]) is read completely, up to a bound.

pub mod connection;
pub mod dial;
pub mod dns;
pub mod failure;
pub mod permit;
pub mod raw_connection;
pub mod reply_body;

use super::error_class::ErrorClass;
use crate::net::address_policy::AddressPolicy;
use crate::net::tls_profile::TlsProfile;
use crate::net::tls_trust;
use crate::net::tls_trust::TlsError;
use bytes::Bytes;
use connection::{BoundedConnector, ConnectionPlaces, ConnectionWatch};
use dial::GuardedDialler;
use dns::NameResolver;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_rustls::FixedServerNameResolver;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use permit::{GuardedBody, SendPermit};
use raw_connection::RawConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most bytes of a reply's body that are stored: 16 KiB.
pub const MAX_REPLY_BODY: usize = 16 * 1024;

/// Most headers of a reply over HTTP/1.1. hyper's default is 100. Other clients accept far more.
const MAX_REPLY_HEADERS: usize = 1_000;

/// Longest wait for a reply's body after its headers.
pub const BODY_WAIT: Duration = Duration::from_secs(5);

/// Time for which an unused connection stays open. Many servers close theirs after 60 s, so this is
/// less.
const IDLE: Duration = Duration::from_secs(50);

/// Silence of an HTTP/2 connection with open requests after which a PING is sent, and longest wait
/// for its answer. Without PINGs, every delivery on a connection that a firewall silently dropped
/// fails until the system gives up its retransmissions after 15 minutes.
const SILENCE: Duration = Duration::from_secs(10);

/// The settings of a client.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Networks that deliveries may go to, in addition to public addresses.
    pub allow_networks: Vec<IpNet>,
    /// Certificates (PEM) that are trusted in addition to Mozilla's roots.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Name servers to use instead of the system's. Empty for the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Most connections at the same time. Each uses a file descriptor.
    pub max_connections: usize,
}

/// A request to send.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub method: Method,
    /// Absolute URI with the scheme `http` or `https`.
    pub uri: Uri,
    /// The headers. `Host` and `Content-Length` are added.
    pub headers: HeaderMap,
    /// The case of the header names over HTTP/1.1, from [`crate::net::header_case::header_case`].
    pub header_case: Option<Extensions>,
    pub body: Bytes,
    /// Checked just before bytes of the request are written. Without a permit, the request is
    /// always sent.
    pub permit: Option<SendPermit>,
    /// Whether the request uses a connection of its own and is never sent a second time. If a
    /// pooled connection breaks, it is unknown whether the receiver got the request.
    pub is_sent_once: bool,
}

impl ClientRequest {
    /// Makes a POST without a permit.
    pub const fn post(uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        let method = Method::POST;
        Self { method, uri, headers, header_case: None, body, permit: None, is_sent_once: false }
    }
}

/// A reply.
#[derive(Debug, Clone)]
pub struct ClientReply {
    /// The status, which alone decides whether the delivery succeeded.
    pub status: StatusCode,
    /// The version of HTTP of the reply.
    #[cfg(test)]
    pub version: http::Version,
    pub headers: HeaderMap,
    /// The body, up to the bound on its bytes and its time.
    pub body: Bytes,
    /// Whether the body is longer than that, or broke off.
    pub truncated: bool,
    /// Time from the start of the request to the end of the reply.
    pub duration: Duration,
}

/// The reason why a request has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct SendError {
    /// The class of the failure.
    pub class: ErrorClass,
    /// Describes the failure in a sentence, without secrets.
    pub detail: String,
    /// Time from the start of the request to the failure.
    pub duration: Duration,
}

/// An HTTP client that all deliveries share.
#[derive(Debug, Clone)]
pub struct DeliveryClient {
    pooled: HttpClient,
    /// Opens a new connection for each request.
    fresh: HttpClient,
    /// Opens connections for other protocols.
    raw: RawConnector,
    shared: Arc<SharedParts>,
}

/// The parts that the clients of all endpoints share.
#[derive(Debug)]
struct SharedParts {
    dialler: GuardedDialler,
    places: Arc<ConnectionPlaces>,
    extra_ca_pem: Option<Vec<u8>>,
    silence: Duration,
}

type HttpClient = legacy::Client<BoundedConnector, GuardedBody>;

impl DeliveryClient {
    /// Makes a client with its own pool of connections. Fails if the further certificates cannot be
    /// used.
    pub fn new(settings: ClientSettings) -> Result<Self, TlsError> {
        Self::with_silence(settings, SILENCE)
    }

    fn with_silence(settings: ClientSettings, silence: Duration) -> Result<Self, TlsError> {
        let policy = AddressPolicy::new(settings.allow_networks);
        let shared = SharedParts {
            dialler: GuardedDialler::new(policy, NameResolver::new(settings.name_servers)),
            places: ConnectionPlaces::new(settings.max_connections),
            extra_ca_pem: settings.extra_ca_pem,
            silence,
        };
        let tls = tls_trust::client_config(shared.extra_ca_pem.as_deref())?;
        Ok(Self::assemble(Arc::new(shared), tls, None))
    }

    /// Makes a client with its own pool and TLS profile. It shares the bound on connections and the
    /// address policy with this client.
    pub fn with_profile(&self, profile: &TlsProfile) -> Result<Self, TlsError> {
        let shared = Arc::clone(&self.shared);
        let tls = profile.client_config(shared.extra_ca_pem.as_deref())?;
        let name = profile.server_name.as_ref().map(|name| {
            ServerName::try_from(name.clone()).map_err(|_opaque| TlsError::ServerName(name.clone()))
        });
        Ok(Self::assemble(shared, tls, name.transpose()?))
    }

    fn assemble(
        shared: Arc<SharedParts>,
        tls: ClientConfig,
        name: Option<ServerName<'static>>,
    ) -> Self {
        let raw = RawConnector { dialler: shared.dialler.clone(), tls: Arc::new(tls.clone()) };
        let builder =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let builder = match name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connector = builder.enable_all_versions().wrap_connector(shared.dialler.clone());
        let connector = BoundedConnector::new(connector, Arc::clone(&shared.places));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        builder.http1_max_headers(MAX_REPLY_HEADERS);
        builder.http2_keep_alive_interval(shared.silence);
        builder.http2_keep_alive_timeout(shared.silence);
        let pooled = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Self { pooled, fresh, raw, shared }
    }

    /// Sends a request and waits for its reply, at most `timeout`. If `withdrawn` completes before
    /// the request has begun, the request is not sent, and `None` is returned. Once the request
    /// begins, `withdrawn` is dropped. `None` is also returned if the permit is lost. In that case
    /// the head of the request may already have been sent.
    pub async fn send(
        &self,
        request: ClientRequest,
        timeout: Duration,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<ClientReply, SendError>> {
        let bounds = ExchangeBounds { body: MAX_REPLY_BODY, wait: BODY_WAIT, timeout };
        self.exchange(request, bounds, withdrawn).await
    }

    /// Sends a GET and reads at most `most` bytes of its reply within `timeout`. If the body is
    /// longer, or shorter than announced, the reply is marked `truncated`.
    pub async fn get(
        &self,
        uri: Uri,
        headers: HeaderMap,
        timeout: Duration,
        most: usize,
    ) -> Result<ClientReply, SendError> {
        let request = ClientRequest {
            method: Method::GET,
            ..ClientRequest::post(uri, headers, Bytes::new())
        };
        self.ask_whole(request, timeout, most).await
    }

    /// Sends a request that cannot be withdrawn, and reads the reply as [`Self::get`] does.
    pub async fn ask_whole(
        &self,
        request: ClientRequest,
        timeout: Duration,
        most: usize,
    ) -> Result<ClientReply, SendError> {
        let reply = self.send_whole(request, timeout, most, pending()).await;
        // Nothing withdraws the request, so a missing reply can only be a time-out.
        reply.unwrap_or_else(|| Err(failure::timed_out(timeout, timeout)))
    }

    /// Sends a request as [`Self::send`] does, and reads the reply as [`Self::get`] does.
    pub async fn send_whole(
        &self,
        request: ClientRequest,
        timeout: Duration,
        most: usize,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<ClientReply, SendError>> {
        let bounds = ExchangeBounds { body: most, wait: timeout, timeout };
        self.exchange(request, bounds, withdrawn).await
    }

    async fn exchange(
        &self,
        request: ClientRequest,
        bounds: ExchangeBounds,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<ClientReply, SendError>> {
        let ExchangeBounds { body: most, wait, timeout } = bounds;
        let started = Instant::now();
        let deadline = started + timeout;
        let answered = timeout_at(deadline, self.ask(&request, withdrawn)).await;
        let response = match answered {
            Ok(Some(Ok(response))) => response,
            Ok(Some(Err(error))) if failure::is_permit_lost(&error) => return None,
            Ok(Some(Err(error))) => {
                return Some(Err(failure::classify_error(&error, started.elapsed())));
            }
            Ok(None) => return None,
            Err(_) => return Some(Err(failure::timed_out(timeout, started.elapsed()))),
        };
        let (head, body) = response.into_parts();
        let (body, truncated) =
            reply_body::read_start(body, deadline.min(Instant::now() + wait), most).await;
        Some(Ok(ClientReply {
            status: head.status,
            #[cfg(test)]
            version: head.version,
            headers: head.headers,
            body,
            truncated,
            duration: started.elapsed(),
        }))
    }

    /// Sends a request. If a pooled connection turned out to be closed, sends it again on a new
    /// one.
    async fn ask(
        &self,
        request: &ClientRequest,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<ClientResponse, legacy::Error>> {
        let client = if request.is_sent_once { &self.fresh } else { &self.pooled };
        let error = match begin(client, made(request), withdrawn).await? {
            Ok(response) => {
                if let Some(watch) = response.extensions().get::<ConnectionWatch>() {
                    watch.note_answer();
                }
                return Some(Ok(response));
            }
            Err(error) => error,
        };
        if request.is_sent_once || !failure::is_stale_connection(&error) {
            return Some(Err(error));
        }
        tracing::debug!(
            host = request.uri.host(),
            "a pooled connection was closed; sending the request again"
        );
        Some(self.fresh.request(made(request)).await)
    }
}

type ClientResponse = http::Response<Incoming>;

/// Sends a request unless `withdrawn` completes before the request has a connection. From then on
/// the request has begun.
async fn begin(
    client: &HttpClient,
    mut request: http::Request<GuardedBody>,
    withdrawn: impl Future<Output = ()>,
) -> Option<Result<ClientResponse, legacy::Error>> {
    let mut connection = capture_connection(&mut request);
    let mut sending = client.request(request);
    let _shared = {
        let withdrawn = std::pin::pin!(withdrawn);
        tokio::select! {
            biased;
            // `withdrawn` is polled first, because polling the request may send it.
            () = withdrawn => return None,
            answer = &mut sending => return Some(answer),
            connected = connection.wait_for_connection_metadata() => {
                connected.as_ref().and_then(ConnectionWatch::of_shared)
            }
        }
    };
    Some(sending.await)
}

/// The bounds of one request and its reply.
#[derive(Debug, Clone, Copy)]
struct ExchangeBounds {
    /// Most bytes of the reply's body.
    body: usize,
    /// Longest time for the body after the headers.
    wait: Duration,
    /// Longest time for the request and its reply.
    timeout: Duration,
}

/// Builds the request in hyper's type.
fn made(request: &ClientRequest) -> http::Request<GuardedBody> {
    let body = GuardedBody::new(request.body.clone(), request.permit.clone());
    let mut made = http::Request::new(body);
    made.method_mut().clone_from(&request.method);
    made.uri_mut().clone_from(&request.uri);
    made.headers_mut().clone_from(&request.headers);
    if let Some(case) = &request.header_case {
        made.extensions_mut().clone_from(case);
    }
    made
}

#[cfg(test)]
mod tests;
