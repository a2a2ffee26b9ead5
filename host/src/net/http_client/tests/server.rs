//! Receivers that misbehave on purpose.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The reaction of a receiver to each request.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    /// Answers with this text and keeps the connection open.
    Answer(&'static str),
    /// Answers 200 with a body of this many bytes.
    Sized(usize),
    /// Answers 200 with this many headers, and the length of an empty body.
    Headers(usize),
    /// Reads the request and never answers.
    Hang,
    /// Sends this text byte by byte, then dots without end.
    Drip(&'static str),
    /// Sends this text, then dots without end, as fast as possible.
    Flood(&'static str),
    /// Sends this text and closes the connection.
    Vanish(&'static str),
    /// Closes the connection with a reset.
    Reset,
    /// Answers the first request of a connection and closes it at the second.
    Once,
    /// Answers the first request of a connection and resets it at the second.
    OnceThenReset,
    /// Answers the first request of a connection, and the second with half an answer.
    OnceThenHalf,
}

/// A certificate authority and a certificate that it issued.
pub struct Tls {
    authority_pem: String,
    config: ServerConfig,
}

impl Tls {
    pub fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate =
            CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        Self::showing(authority.pem(), certificate.der().clone(), &key)
    }

    /// Makes a self-signed certificate, as `openssl req -x509` does.
    pub fn self_signed(name: &str, is_authority: bool) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::showing(certificate.pem(), certificate.der().clone(), &key)
    }

    fn showing(authority_pem: String, shown: CertificateDer<'static>, key: &KeyPair) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown], key)
            .unwrap();
        Self { authority_pem, config }
    }

    pub fn authority_pem(&self) -> Vec<u8> {
        self.authority_pem.clone().into_bytes()
    }

    fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// A receiver on a free port of 127.0.0.1, until it is dropped.
pub struct Server {
    port: u16,
    counts: Arc<Counts>,
    requests: Mutex<mpsc::UnboundedReceiver<String>>,
    /// Number of bytes that each flood sent before the client closed the connection.
    floods: Mutex<mpsc::UnboundedReceiver<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Session {
    script: Script,
    counts: Arc<Counts>,
    requests: mpsc::UnboundedSender<String>,
    floods: mpsc::UnboundedSender<usize>,
}

impl Server {
    pub async fn start(script: Script) -> Self {
        Self::run(script, |session, stream| async move { session.serve(stream).await }).await
    }

    pub async fn start_tls(script: Script, tls: &Tls, protocols: &[&str]) -> Self {
        let acceptor = tls.acceptor(protocols);
        Self::run(script, move |session, stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    session.serve(stream).await;
                }
            }
        })
        .await
    }

    /// Starts an HTTP/2 server over TLS that answers with the request's body.
    pub async fn start_http2(tls: &Tls) -> Self {
        let acceptor = tls.acceptor(&["h2", "http/1.1"]);
        Self::run(Script::Hang, move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service =
                    service_fn(|request| async { Ok::<_, Infallible>(echo(request).await) });
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                drop(serving.await);
            }
        })
        .await
    }

    async fn run<F, S>(script: Script, serve: F) -> Self
    where
        F: Fn(Session, TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let (requests, received) = mpsc::unbounded_channel();
        let (floods, ended) = mpsc::unbounded_channel();
        let session = Session { script, counts: Arc::clone(&counts), requests, floods };
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                session.counts.connections.fetch_add(1, Ordering::SeqCst);
                sessions.spawn(serve(session.clone(), stream));
            }
        });
        Self { port, counts, requests: Mutex::new(received), floods: Mutex::new(ended), task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?a=1", self.port)
    }

    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Returns the next request as it arrived.
    pub async fn request(&self) -> String {
        self.requests.lock().await.recv().await.unwrap()
    }

    /// Returns the number of bytes that a flood sent before the client closed the connection.
    pub async fn closed_by_client(&self) -> usize {
        self.floods.lock().await.recv().await.unwrap()
    }

    /// Stops listening and returns the URL.
    pub async fn closed_url(mut self) -> String {
        self.task.abort();
        drop((&mut self.task).await);
        self.url()
    }
}

/// Relays traffic between clients and a server, until it falls silent as a firewall does.
pub struct SilentRelay {
    port: u16,
    silence: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl SilentRelay {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silence, silenced) = watch::channel(());
        let task = tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut silenced = silenced.clone();
                // Earlier silences do not concern this connection.
                silenced.mark_unchanged();
                relays.spawn(pass_on(stream, server, silenced));
            }
        });
        Self { port, silence, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops relaying on all current connections, and leaves them open.
    pub fn silence_connections(&self) {
        self.silence.send_replace(());
    }
}

impl Drop for SilentRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut client: TcpStream, port: u16, mut silenced: watch::Receiver<()>) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tokio::select! {
        ended = copy_bidirectional(&mut client, &mut server) => drop(ended),
        _ = silenced.changed() => std::future::pending().await,
    }
}

async fn echo(request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let line = format!("{} {} ", request.method(), request.uri().path());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    http::Response::new(Full::new([line.as_bytes(), &body].concat().into()))
}

impl Session {
    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut number = 0;
        while let Some(request) = read_request(&mut stream).await {
            self.counts.requests.fetch_add(1, Ordering::SeqCst);
            drop(self.requests.send(request));
            number += 1;
            if !self.answer(&mut stream, number).await {
                return;
            }
        }
    }

    /// Answers a request. Returns whether the connection stays open.
    async fn answer(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        number: usize,
    ) -> bool {
        match self.script {
            Script::Once | Script::OnceThenReset | Script::OnceThenHalf if number == 1 => {
                let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                stream.write_all(answer).await.is_ok()
            }
            Script::OnceThenHalf => {
                drop(stream.write_all(b"HTTP/1.1 204 No").await);
                false
            }
            Script::Answer(text) => stream.write_all(text.as_bytes()).await.is_ok(),
            Script::Sized(size) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
                let whole = [head.into_bytes(), vec![b'.'; size]].concat();
                stream.write_all(&whole).await.is_ok()
            }
            Script::Headers(count) => {
                let many: Vec<String> = (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect();
                let many = many.concat();
                let whole = format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n");
                stream.write_all(whole.as_bytes()).await.is_ok()
            }
            Script::Hang => {
                drop(stream.read(&mut [0]).await);
                false
            }
            Script::Drip(start) => {
                let mut bytes = start.bytes().chain(std::iter::repeat(b'.'));
                while let Some(byte) = bytes.next()
                    && stream.write_all(&[byte]).await.is_ok()
                {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                false
            }
            Script::Flood(start) => {
                drop(stream.write_all(start.as_bytes()).await);
                let mut sent = 0;
                while stream.write_all(&[b'.'; 4096]).await.is_ok() {
                    sent += 4096;
                }
                self.floods.send(sent).ok();
                false
            }
            Script::Vanish(start) => {
                drop(stream.write_all(start.as_bytes()).await);
                drop(stream.shutdown().await);
                false
            }
            Script::Reset | Script::Once | Script::OnceThenReset => false,
        }
    }
}

/// Reads one request, or `None` if the connection has ended. Bytes that are not HTTP count as a
/// request when they pause.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|&read| read > 0)?;
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let is_http = text.starts_with("POST ");
        if !is_http || text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= 9) {
            return Some(text);
        }
    }
}
