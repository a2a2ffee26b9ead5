//! The one place that makes HTTP requests: one request, one reply, no redirects.
//!
//! Connections are pooled per host, speak HTTP/1.1 or, where TLS negotiates it, HTTP/2, and go only
//! to addresses that the [`AddressPolicy`] lets through ([`dial`]). Certificates are checked
//! against Mozilla's roots and, where configured, further ones.
//!
//! A connection of the pool that turns out to be closed costs no attempt: where it carried a
//! request before and not a byte of an answer came, the request is sent again at once, on a new
//! connection, in the same time-out. The receiver tells a repeat by its `webhook-id`.
//!
//! A reply to a delivery is judged by its status alone, so its body bounds nothing but the record:
//! at most [`MAX_REPLY_BODY`] bytes are read, for at most [`BODY_WAIT`] after the headers and never
//! beyond the time-out. What is cut off there closes its connection. What a source asks for
//! ([`DeliveryClient::get`]) is read in whole, up to a bound.

pub mod connection;
pub mod dial;
pub mod dns;
pub mod failure;
pub mod permit;
pub mod raw_connection;

use super::error_class::ErrorClass;
use crate::net::address_policy::AddressPolicy;
use crate::net::tls_profile::TlsProfile;
use crate::net::tls_trust;
use crate::net::tls_trust::TlsError;
use bytes::{Bytes, BytesMut};
use connection::{BoundedConnector, ConnectionPlaces, ConnectionWatch};
use dial::GuardedDialler;
use dns::NameResolver;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
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

/// How much of a reply's body is kept: 16 KiB.
pub const MAX_REPLY_BODY: usize = 16 * 1024;

/// Most headers of a reply over HTTP/1.1. hyper takes 100 by itself, and others far more.
const MAX_REPLY_HEADERS: usize = 1_000;

/// How long a reply's body is waited for once its headers are there.
pub const BODY_WAIT: Duration = Duration::from_secs(5);

/// How long an unused connection stays open: less than the 60 s after which many servers close
/// theirs.
const IDLE: Duration = Duration::from_secs(50);

/// How long a connection of HTTP/2 with requests under way may be silent before a PING is sent, and
/// how long the answer to it may take. Without it each delivery fails on a connection that a
/// firewall drops silently, until the system ends 15 minutes of retransmissions.
const SILENCE: Duration = Duration::from_secs(10);

/// What the client is made from.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Networks that deliveries may go to beside public addresses.
    pub allow_networks: Vec<IpNet>,
    /// Certificates (PEM) that are trusted beside Mozilla's roots.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Name servers to ask in place of the system's; none for the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Connections at once; each takes a file descriptor.
    pub max_connections: usize,
}

/// A request.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub method: Method,
    /// Where to: absolute, `http` or `https`.
    pub uri: Uri,
    /// Its headers; `Host` and `Content-Length` are added.
    pub headers: HeaderMap,
    /// The case of their names over HTTP/1.1, as [`crate::net::header_case::header_case`] makes it.
    pub header_case: Option<Extensions>,
    pub body: Bytes,
    /// Looked at just before its bytes go out; without one nothing holds it back.
    pub permit: Option<SendPermit>,
}

impl ClientRequest {
    /// Makes a POST that is not bound to a lease.
    pub const fn post(uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        Self { method: Method::POST, uri, headers, header_case: None, body, permit: None }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct ClientReply {
    /// The status, which alone says whether the delivery was made.
    pub status: StatusCode,
    /// The version of HTTP that was spoken.
    #[cfg(test)]
    pub version: http::Version,
    pub headers: HeaderMap,
    /// The first [`MAX_REPLY_BODY`] bytes of the body, or as much as came in time.
    pub body: Bytes,
    /// Whether there is more of the body than that.
    pub truncated: bool,
    /// From the start of the sending to the end of the reading.
    pub duration: Duration,
}

/// Why no reply came.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct SendError {
    /// The kind of failure.
    pub class: ErrorClass,
    /// The failure in a sentence, without secrets.
    pub detail: String,
    /// From the start of the sending to the failure.
    pub duration: Duration,
}

/// An HTTP client that is shared by all deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryClient {
    pooled: HttpClient,
    /// Makes a connection for each request.
    fresh: HttpClient,
    /// Makes connections for other protocols.
    raw: RawConnector,
    shared: Arc<SharedParts>,
}

/// What the clients of all endpoints have in common.
#[derive(Debug)]
struct SharedParts {
    dialler: GuardedDialler,
    places: Arc<ConnectionPlaces>,
    extra_ca_pem: Option<Vec<u8>>,
    silence: Duration,
}

type HttpClient = legacy::Client<BoundedConnector, GuardedBody>;

impl DeliveryClient {
    /// A client with its own pool of connections. An error means that the further certificates are
    /// unusable.
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

    /// A client with a pool of its own that speaks TLS in another way. It shares the bound on
    /// connections, and goes to the same addresses.
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

    /// Sends a request and waits for its reply, at most `timeout`. Where `withdrawn` ends before
    /// the request has begun, it is not sent, and nothing comes back; when it begins, `withdrawn`
    /// is dropped. Nothing comes back either where its permit is lost, though its head may be on
    /// its way then.
    pub async fn send(
        &self,
        request: ClientRequest,
        timeout: Duration,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<ClientReply, SendError>> {
        let bounds = ExchangeBounds { body: MAX_REPLY_BODY, wait: BODY_WAIT, timeout };
        self.exchange(request, bounds, withdrawn).await
    }

    /// Asks for something and reads it, at most `most` bytes in `timeout`. More than that, or less
    /// than was announced, comes back as `truncated`.
    pub async fn get(
        &self,
        uri: Uri,
        headers: HeaderMap,
        timeout: Duration,
        most: usize,
    ) -> Result<ClientReply, SendError> {
        let (method, body) = (Method::GET, Bytes::new());
        let request = ClientRequest { method, uri, headers, header_case: None, body, permit: None };
        self.ask_whole(request, timeout, most).await
    }

    /// Sends a request that nothing withdraws and reads the reply as [`Self::get`] does.
    pub async fn ask_whole(
        &self,
        request: ClientRequest,
        timeout: Duration,
        most: usize,
    ) -> Result<ClientReply, SendError> {
        let bounds = ExchangeBounds { body: most, wait: timeout, timeout };
        let reply = self.exchange(request, bounds, pending()).await;
        // Nothing withdraws it.
        reply.unwrap_or_else(|| Err(failure::timed_out(timeout, timeout)))
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
        let (body, truncated) = read(body, deadline.min(Instant::now() + wait), most).await;
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

    /// Sends a request, a second time where the connection turned out to be closed.
    async fn ask(
        &self,
        request: &ClientRequest,
        withdrawn: impl Future<Output = ()>,
    ) -> Option<Result<ClientResponse, legacy::Error>> {
        let error = match begin(&self.pooled, made(request), withdrawn).await? {
            Ok(response) => {
                if let Some(watch) = response.extensions().get::<ConnectionWatch>() {
                    watch.note_answer();
                }
                return Some(Ok(response));
            }
            Err(error) => error,
        };
        if !failure::is_stale_connection(&error) {
            return Some(Err(error));
        }
        tracing::debug!(host = request.uri.host(), "a kept connection was closed; sending again");
        Some(self.fresh.request(made(request)).await)
    }
}

type ClientResponse = http::Response<Incoming>;

/// Sends a request unless `withdrawn` ends before it has a connection. From then on it has begun.
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
            // Before the request is polled: that may send it.
            () = withdrawn => return None,
            answer = &mut sending => return Some(answer),
            connected = connection.wait_for_connection_metadata() => {
                connected.as_ref().and_then(ConnectionWatch::of_shared)
            }
        }
    };
    Some(sending.await)
}

/// What bounds an exchange.
#[derive(Debug, Clone, Copy)]
struct ExchangeBounds {
    /// Most bytes of the reply's body.
    body: usize,
    /// How long the body may take once the headers are there.
    wait: Duration,
    /// How long all of it may take.
    timeout: Duration,
}

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

/// The start of a body, and whether there is more of it. Where it breaks off or the time is over,
/// what came so far.
async fn read(mut body: Incoming, deadline: Instant, most: usize) -> (Bytes, bool) {
    let mut start = BodyStart { most, ..BodyStart::default() };
    while !body.is_end_stream() {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                if !start.take(data) {
                    return (start.joined(), true);
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return (start.joined(), true),
        }
    }
    (start.joined(), false)
}

/// The first bytes of a body. Most bodies come in one piece, which is kept as it is.
#[derive(Default)]
struct BodyStart {
    most: usize,
    first: Bytes,
    rest: BytesMut,
}

impl BodyStart {
    /// Takes what there is room for; whether that was all of it.
    fn take(&mut self, mut data: Bytes) -> bool {
        let room = self.most.saturating_sub(self.first.len() + self.rest.len());
        let fits = data.len() <= room;
        data.truncate(room);
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.rest.extend_from_slice(&data);
        }
        fits
    }

    fn joined(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.first.len() + self.rest.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        whole.freeze()
    }
}

#[cfg(test)]
mod tests;
