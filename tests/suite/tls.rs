//! HTTPS: the supported versions, the renewal of certificates, and the answer to plain HTTP.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waybill_tests::Backend::Sqlite;
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::binary;
use waybill_tests::{Client, Settings, World};

use crate::connections::{LIMIT, PACE, connect, exchange, statuses};

type Pair = CertifiedKey<KeyPair>;

/// Returns a self-signed certificate for 127.0.0.1.
fn pair() -> Pair {
    rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap()
}

/// Writes a certificate and a key to the files that [`with_tls`] names.
fn write(folder: &Path, certificate: &Pair, key: &Pair) {
    std::fs::write(folder.join("tls.crt"), certificate.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.signing_key.serialize_pem()).unwrap();
}

/// Sets the files of this certificate.
fn with_tls(settings: &mut Settings, pair: &Pair) {
    write(&settings.folder, pair, pair);
    settings.set("tls.certificate", "tls.crt").set("tls.key", "tls.key");
}

/// Starts a world with HTTPS. Returns its certificate and a caller that trusts it too.
async fn world(change: impl FnOnce(&mut Settings)) -> Option<(World, Pair, Client)> {
    let pair = pair();
    let set = |settings: &mut Settings| {
        with_tls(settings, &pair);
        change(settings);
    };
    let world = World::start_with(Sqlite, set).await?;
    let address = world.server().address();
    let client = Client::trusting(address, Some(ADMIN_TOKEN), pair.cert.der()).unwrap();
    Some((world, pair, client))
}

/// Opens a connection that trusts these certificates and offers these versions and this protocol.
async fn shake(
    world: &World,
    trusted: &[&Pair],
    versions: &[&'static SupportedProtocolVersion],
    protocol: &str,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.cert.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, connect(world).await).await.unwrap()
}

/// Returns the certificate that a new connection receives.
async fn shown(world: &World, trusted: &[&Pair]) -> CertificateDer<'static> {
    let stream = shake(world, trusted, &[&TLS13], "http/1.1").await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn health() -> Request<Empty<Bytes>> {
    Request::get("https://127.0.0.1/healthz").header("host", "a").body(Empty::new()).unwrap()
}

/// Returns the status of one request on a connection, in the negotiated protocol.
async fn ask(stream: TlsStream<TcpStream>) -> StatusCode {
    let io = TokioIo::new(stream);
    let alpn = io.inner().get_ref().1.alpn_protocol().unwrap().to_owned();
    if alpn == b"h2" {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let status = sender.send_request(health()).await.unwrap().status();
        connection.abort();
        return status;
    }
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let status = sender.send_request(health()).await.unwrap().status();
    connection.abort();
    status
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_both_versions_of_http() {
    let Some((world, pair, client)) = world(|_| {}).await else { return };
    for (version, number) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        for protocol in ["h2", "http/1.1"] {
            let stream = shake(&world, &[&pair], &[version], protocol).await;
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(number));
            assert_eq!(session.alpn_protocol(), Some(protocol.as_bytes()));
            assert_eq!(ask(stream).await, StatusCode::OK, "{number:?} {protocol}");
        }
    }
    assert_eq!(client.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);
    let stranger = world.client().get("/healthz").await;
    assert!(stranger.is_err(), "nobody vouches for the certificate");
}

/// Returns the bytes after their length in `width` bytes.
fn counted(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[4 - width..], bytes].concat()
}

/// Returns a hello from before TLS 1.3 (RFC 5246, section 7.4.1.2): one version, and the common
/// extensions.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let ciphers = [[0xc0, 0x2b], [0xc0, 0x2f], [0xc0, 0x09], [0xc0, 0x13], [0, 0x2f]].concat();
    // X25519 and P-256; uncompressed points; ECDSA and RSA with SHA-256.
    let groups = [vec![0, 10], counted(2, &counted(2, &[0, 0x1d, 0, 0x17]))].concat();
    let points = [vec![0, 11], counted(2, &counted(1, &[0]))].concat();
    let signatures = [vec![0, 13], counted(2, &counted(2, &[4, 3, 4, 1]))].concat();
    let extensions = counted(2, &[groups, points, signatures].concat());
    let start = [&version[..], &[7; 32], &[0]].concat();
    let body = [start, counted(2, &ciphers), counted(1, &[0]), extensions].concat();
    let message = [vec![1], counted(3, &body)].concat();
    [vec![22, 3, 1], counted(2, &message)].concat()
}

#[tokio::test]
async fn older_versions_and_plain_http_are_refused() {
    let patience = |settings: &mut Settings| {
        settings.set("server.header_timeout", "4s");
    };
    let Some((world, _, client)) = world(patience).await else { return };
    for version in [[3, 0], [3, 1], [3, 2]] {
        let answer = exchange(connect(&world).await, &hello(version)).await;
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "the alert protocol_version to {version:?}");
    }
    // The same hello of TLS 1.2 is answered in time.
    let answer = exchange(connect(&world).await, &hello([3, 3])).await;
    assert_eq!(answer[..6], [22, 3, 3, answer[3], answer[4], 2], "a server's hello");
    for start in [&hello([3, 3])[..40], b""] {
        assert!(exchange(connect(&world).await, start).await.is_empty());
    }
    let plain = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = exchange(connect(&world).await, plain).await;
    assert!(statuses(&answer).is_empty(), "{answer:?}");
    assert_eq!(client.get("/healthz").await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_over_tls_asks_for_tls() {
    let Some((_world, _, secure)) = world(|_| {}).await else { return };
    let Some(plain) = World::start(Sqlite).await else { return };
    let calls = [
        Call::new(Method::GET, "/healthz"),
        Call::new(Method::GET, "/api/v1/flows"),
        Call::new(Method::GET, "/api/v1/flows").header("x-api-key", "wrong"),
        Call::new(Method::GET, "/nothing"),
        Call::new(Method::GET, "/api/v1/flows/nothing"),
        Call::new(Method::DELETE, "/healthz"),
        Call::new(Method::GET, "/admin"),
        Call::new(Method::GET, "/openapi.json"),
        Call::post("/api/v1/events", "application/json", "["),
        Call::post("/api/v1/events", "text/plain", "a"),
    ];
    for call in calls {
        let answer = secure.send(call.clone()).await.unwrap();
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{call:?}");
        let answer = plain.client().send(call.clone()).await.unwrap();
        assert_eq!(answer.header("strict-transport-security"), "", "{call:?}");
    }
}

/// Sends requests on one connection until it is stopped. Each must be answered. Returns their
/// number.
async fn keep_asking(stream: TlsStream<TcpStream>, stop: Arc<AtomicBool>) -> u32 {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        sender.ready().await.unwrap();
        let answer = sender.send_request(health()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().collect().await.unwrap();
        answered += 1;
    }
    connection.abort();
    answered
}

/// Waits until the server has refused that many certificates.
async fn refused(world: &World, times: usize) {
    let deadline = Instant::now() + LIMIT;
    while world.server().output().matches("changed certificate was not loaded").count() < times {
        assert!(Instant::now() < deadline, "a key that does not fit is told");
        sleep(PACE).await;
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_request_lost() {
    let Some((world, old, _)) = world(|_| {}).await else { return };
    let (new, other) = (pair(), pair());
    let all = [&old, &new, &other];
    let stop = Arc::new(AtomicBool::new(false));
    let before = shake(&world, &[&old], &[&TLS13], "http/1.1").await;
    let kept = tokio::spawn(keep_asking(before, Arc::clone(&stop)));
    assert_eq!(shown(&world, &all).await, *old.cert.der());
    write(world.folder(), &new, &new);
    let deadline = Instant::now() + LIMIT;
    while shown(&world, &all).await != *new.cert.der() {
        assert!(Instant::now() < deadline, "the new certificate is not shown");
        let fresh = shake(&world, &all, &[&TLS13], "h2").await;
        assert_eq!(ask(fresh).await, StatusCode::OK);
        sleep(PACE).await;
    }
    let times = world.server().output().matches("changed certificate was not loaded").count();
    write(world.folder(), &other, &old);
    refused(&world, times + 1).await;
    assert_eq!(shown(&world, &all).await, *new.cert.der());
    std::fs::remove_file(world.folder().join("tls.key")).unwrap();
    assert_eq!(shown(&world, &all).await, *new.cert.der());
    write(world.folder(), &other, &other);
    let deadline = Instant::now() + LIMIT;
    while shown(&world, &all).await != *other.cert.der() {
        assert!(Instant::now() < deadline, "a pair that fits again is not shown");
        sleep(PACE).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(kept.await.unwrap() > 0);
}

#[tokio::test]
async fn plain_http_is_sent_on_to_https() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let from = free.local_addr().unwrap();
    drop(free);
    let set = |settings: &mut Settings| {
        settings.set("tls.redirect_listen", &from.to_string());
    };
    let Some((world, _, client)) = world(set).await else { return };
    let plain = Client::new(&format!("http://{from}"), Some(ADMIN_TOKEN));
    let path = "/api/v1/flows?limit=2&a=%2F";
    for call in [Call::new(Method::GET, path), Call::post(path, "application/json", "{}")] {
        let answer = plain.send(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.header("location"), format!("{}{path}", world.server().address()));
        assert!(answer.header("strict-transport-security").is_empty());
    }
    let port = world.server().address().rsplit_once(':').unwrap().1;
    for (line, headers, status, there) in [
        ("/a", "", 400, None),
        ("/a", "Host: a b\r\n", 400, None),
        ("/a", "Host: b\r\n", 308, Some("https://b")),
        // The request target overrides the header (RFC 9112, section 3.2.2).
        ("http://c/a", "Host: b\r\n", 308, Some("https://c")),
    ] {
        let request = format!("GET {line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let stream = TcpStream::connect(from).await.unwrap();
        let answer = exchange(stream, request.as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{request}");
        let location = there.map(|host| format!("\r\nlocation: {host}:{port}/a\r\n"));
        let said = String::from_utf8_lossy(&answer);
        assert!(said.contains(&location.unwrap_or_default()), "{request}: {said}");
    }
    assert_eq!(client.get("/healthz").await.unwrap().status, StatusCode::OK);
}

/// Returns the output of a start with these settings, which must fail.
async fn failing_start(change: impl FnOnce(&mut Settings)) -> String {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("waybill.db").display());
    let mut settings = Settings::new(&binary(), &url, folder.path());
    change(&mut settings);
    let program = tokio::process::Command::new(&settings.binary)
        .args(["serve", "--listen", "127.0.0.1:0", "--database", &settings.database])
        .current_dir(&settings.folder)
        .envs(settings.environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, program).await.unwrap().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_start_without_a_usable_certificate_says_what_is_wrong() {
    let half = |key: &'static str, value: &'static str| {
        failing_start(move |settings| {
            settings.set(key, value);
        })
    };
    let said = half("tls.certificate", "tls.crt").await;
    assert!(said.contains("tls.key") && said.contains("tls.certificate"), "{said}");
    let said = half("tls.key", "tls.key").await;
    assert!(said.contains("tls.key") && said.contains("tls.certificate"), "{said}");
    let said = half("tls.redirect_listen", "127.0.0.1:0").await;
    assert!(said.contains("tls.redirect_listen") && said.contains("tls.certificate"), "{said}");
    for file in ["tls.crt", "tls.key"] {
        let said = failing_start(|settings| {
            with_tls(settings, &pair());
            std::fs::remove_file(settings.folder.join(file)).unwrap();
        });
        let said = said.await;
        assert!(said.contains(&format!("cannot read {file}")), "{said}");
        let said = failing_start(|settings| {
            with_tls(settings, &pair());
            std::fs::write(settings.folder.join(file), "nothing").unwrap();
        });
        let said = said.await;
        assert!(said.contains(&format!("{file} holds no ")), "{said}");
    }
    let said = failing_start(|settings| {
        with_tls(settings, &pair());
        write(&settings.folder, &pair(), &pair());
    });
    let said = said.await;
    assert!(said.contains("tls.certificate and tls.key"), "{said}");
    assert!(said.contains("cannot be used together"), "{said}");
}
