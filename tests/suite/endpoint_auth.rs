//! Authentication at receivers: fixed credentials, tokens of a token server, certificates. Token
//! server and receiver count their requests: nothing is ever sent without a token.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rstest::rstest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Arrival, Receiver, Reply, World};

use crate::support::{endpoint_with, invoice, problem};

const ENDPOINT: &str = "/api/v1/endpoints/crm";

fn token_reply(token: &str, life: u32) -> Reply {
    json_reply(200, &json!({"access_token": token, "token_type": "Bearer", "expires_in": life}))
}

fn json_reply(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status, headers, body: Bytes::from(body.to_string()) }
}

/// Creates an endpoint `crm` at `/in` whose tokens come from `/token` of the same receiver.
async fn with_tokens(world: &World, receiver: &Receiver, more: &Value) -> Value {
    let mut auth = json!({"kind": "oauth2", "token_url": receiver.url("/token"), "client_id": "c",
                          "client_secret": "s3cret-of-the-client"});
    for (name, value) in more.as_object().unwrap() {
        auth[name] = value.clone();
    }
    let more = json!({"auth": auth, "max_in_flight": 60});
    world.endpoint(&endpoint_with("crm", &receiver.url("/in"), &more)).await
}

fn tokens(arrivals: &[Arrival]) -> Vec<&str> {
    arrivals.iter().map(|arrival| arrival.header("authorization")).collect()
}

/// Returns the delivery of an arrival, once it has this status.
async fn delivery(world: &World, arrival: &Arrival, status: &str) -> Value {
    let path = format!("/api/v1/deliveries/{}", arrival.header("webhook-id"));
    world.eventually(&path, |found| found["status"] == status).await
}

fn form(arrival: &Arrival) -> String {
    String::from_utf8(arrival.body.to_vec()).unwrap()
}

#[rstest]
#[tokio::test]
async fn fixed_credentials_are_sent_with_each_delivery(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    for (name, auth, header, value) in [
        (
            "basic",
            json!({"kind": "basic", "username": "u", "password": "pässword"}),
            "authorization",
            "Basic dTpww6Rzc3dvcmQ=",
        ),
        ("bearer", json!({"kind": "bearer", "token": "tok-1"}), "authorization", "Bearer tok-1"),
        (
            "key",
            json!({"kind": "api_key", "name": "X-Api-Key", "value": "k-1"}),
            "x-api-key",
            "k-1",
        ),
    ] {
        let path = format!("/{name}");
        let made = endpoint_with(name, &receiver.url(&path), &json!({"auth": auth}));
        world.endpoint(&made).await;
        world.event(&invoice(1)).await;
        assert_eq!(receiver.first(&path).await.header(header), value, "{name}");
        let shown = world.get(&format!("/api/v1/endpoints/{name}")).await;
        assert_eq!(shown["auth"]["kind"], auth["kind"]);
        for secret in ["password", "token", "value"] {
            assert!(shown["auth"].get(secret).is_none_or(|shown| shown == "***"), "{shown:#}");
        }
        let found = delivery(&world, &receiver.first(&path).await, "delivered").await;
        assert_eq!(found["attempts"][0]["request_headers"][header], "***");
        world.client().delete(&format!("/api/v1/endpoints/{name}")).await.unwrap();
    }
    let auth = json!({"kind": "api_key", "in": "query", "name": "key", "value": "a b&c"});
    world.endpoint(&endpoint_with("query", &receiver.url("/q?n=1"), &json!({"auth": auth}))).await;
    world.event(&invoice(1)).await;
    receiver.first("/q?n=1&key=a%20b%26c").await;
}

#[rstest]
#[tokio::test]
async fn fifty_deliveries_at_once_ask_for_one_token(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let answer = json!({"access_token": "tok-1", "expires_in": 3600});
    receiver.always("/token", Reply::HeldJson(answer));
    with_tokens(&world, &receiver, &json!({"scope": "leads"})).await;
    let events: Vec<Value> = (0..50).map(invoice).collect();
    let answer = world.client().post("/api/v1/events", &json!(events)).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let asked = receiver.first("/token").await;
    assert_eq!(form(&asked), "grant_type=client_credentials&scope=leads");
    let leased = "/api/v1/deliveries?status=leased&limit=200";
    world.eventually(leased, |found| found.as_array().unwrap().len() == 50).await;
    assert_eq!(receiver.count("/in"), 0);
    receiver.release("/token");
    let arrivals = receiver.wait_for("/in", 50).await;
    assert_eq!(tokens(&arrivals), ["Bearer tok-1"; 50]);
    assert_eq!(receiver.count("/token"), 1);
}

#[tokio::test]
async fn a_token_that_has_ended_is_replaced_and_a_good_one_is_kept() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/token", [token_reply("tok-1", 0), token_reply("tok-2", 3600)]);
    with_tokens(&world, &receiver, &json!({})).await;
    for n in 1..=4 {
        world.event(&invoice(n)).await;
        receiver.wait_for("/in", n as usize).await;
        // A change of other settings does not request a new token.
        let change = json!({"max_in_flight": n});
        assert_eq!(world.client().patch(ENDPOINT, &change).await.unwrap().status, StatusCode::OK);
    }
    let arrivals = receiver.arrivals("/in");
    let wanted = ["Bearer tok-1", "Bearer tok-2", "Bearer tok-2", "Bearer tok-2"];
    assert_eq!(tokens(&arrivals), wanted);
    assert_eq!(receiver.count("/token"), 2);
}

#[rstest]
#[tokio::test]
async fn a_refused_token_is_replaced_within_the_attempt(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/token", [token_reply("tok-one", 3600), token_reply("tok-two", 3600)]);
    let echo = json!({"you sent": "Bearer tok-two"});
    receiver.script("/in", [Reply::Status(401), json_reply(200, &echo)]);
    with_tokens(&world, &receiver, &json!({})).await;
    world.event(&invoice(1)).await;
    let arrivals = receiver.wait_for("/in", 2).await;
    assert_eq!(tokens(&arrivals), ["Bearer tok-one", "Bearer tok-two"]);
    for name in ["webhook-id", "x-waybill-attempt"] {
        assert_eq!(arrivals[0].header(name), arrivals[1].header(name));
    }
    let found = delivery(&world, &arrivals[0], "delivered").await;
    assert_eq!(found["attempts"].as_array().unwrap().len(), 1, "{found:#}");
    let told = text(&found["attempts"][0]["request_headers"], "(token)");
    assert!(told.contains(&receiver.url("/token")) && told.contains("401"), "{told}");
    let shown = found.to_string();
    for secret in ["tok-one", "tok-two", "s3cret-of-the-client"] {
        assert!(!shown.contains(secret), "{secret}: {found:#}");
    }
    assert_eq!(receiver.count("/token"), 2);
}

#[tokio::test]
async fn a_receiver_that_refuses_every_token_fails_the_attempt() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/token", (1..=2).map(|n| token_reply(&format!("tok-{n}"), 3600)));
    receiver.script("/in", [Reply::Status(401), Reply::Status(401), Reply::Status(200)]);
    with_tokens(&world, &receiver, &json!({})).await;
    world.event(&invoice(1)).await;
    let arrivals = receiver.wait_for("/in", 3).await;
    assert_eq!(tokens(&arrivals), ["Bearer tok-1", "Bearer tok-2", "Bearer tok-2"]);
    let found = delivery(&world, &arrivals[0], "delivered").await;
    assert_eq!(found["attempts"][0]["error_class"], "client_error");
    assert_eq!(found["attempts"].as_array().unwrap().len(), 2, "{found:#}");
}

#[rstest]
#[tokio::test]
async fn nothing_is_sent_while_the_token_server_fails(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let refused = json!({"error": "invalid_client", "error_description": "s3cret-of-the-client?"});
    receiver.script(
        "/token",
        [
            Reply::Status(503),
            json_reply(401, &refused),
            json_reply(200, &json!({"token_type": "Bearer"})),
            token_reply("tok-1", 3600),
        ],
    );
    with_tokens(&world, &receiver, &json!({})).await;
    world.event(&invoice(1)).await;
    let arrival = receiver.first("/in").await;
    assert_eq!(arrival.header("authorization"), "Bearer tok-1");
    assert_eq!(arrival.header("x-waybill-attempt"), "4");
    let found = delivery(&world, &arrival, "delivered").await;
    let wanted = [
        "answered 503 Service Unavailable",
        "answered 401 Unauthorized: invalid_client: ***?",
        "has no token at `/access_token`",
    ];
    for (attempt, wanted) in found["attempts"].as_array().unwrap().iter().zip(wanted) {
        assert_eq!(attempt["error_class"], "auth", "{attempt:#}");
        assert!(text(attempt, "error").contains(wanted), "{attempt:#}");
        assert_eq!(attempt["status"], Value::Null);
    }
    assert_eq!((receiver.count("/in"), receiver.count("/token")), (1, 4));
}

#[tokio::test]
async fn a_token_server_that_is_away_or_forbidden_gets_nothing_sent() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let away = Receiver::start().await;
    let (away_url, port) = (away.url("/token"), away.port());
    drop(away);
    with_tokens(&world, &receiver, &json!({"token_url": away_url})).await;
    let tested = world.client().post(&format!("{ENDPOINT}/test"), &json!({})).await.unwrap();
    assert_eq!(tested.data()["error_class"], "auth", "{}", tested.text());
    let forbidden = json!({"auth": {"kind": "oauth2", "token_url": format!("http://[::1]:{port}/token"),
                                    "client_id": "c", "client_secret": "another-s3cret"}});
    let answer = world.client().patch(ENDPOINT, &forbidden).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let tested = world.client().post(&format!("{ENDPOINT}/test"), &json!({})).await.unwrap();
    assert_eq!(tested.data()["error_class"], "auth");
    let told = text(&tested.data(), "error");
    assert!(told.contains("delivery.allow_networks"), "{told}");
    assert_eq!(receiver.count("/in"), 0);
}

#[tokio::test]
async fn an_odd_token_server_is_read_by_pointers() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let answer = json!({"data": {"jwt": "tok-1", "until": "2001-01-01T00:00:00Z"}});
    receiver.script("/token", [json_reply(200, &answer), token_reply("tok-2", 3600)]);
    let more = json!({"client_auth": "post", "audience": "crm", "extra": {"resource": "leads"},
                      "scheme": "Zoho-oauthtoken",
                      "response": {"token": "/data/jwt", "expires": "/data/until"}});
    with_tokens(&world, &receiver, &more).await;
    world.event(&invoice(1)).await;
    let arrival = receiver.first("/in").await;
    assert_eq!(arrival.header("authorization"), "Zoho-oauthtoken tok-1");
    let asked = receiver.first("/token").await;
    let wanted = "grant_type=client_credentials&audience=crm&resource=leads&client_id=c&client_secret=s3cret-of-the-client";
    assert_eq!((form(&asked).as_str(), asked.header("authorization")), (wanted, ""));
}

#[rstest]
#[tokio::test]
async fn a_new_refresh_token_outlives_a_restart(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let answers = ["two", "three", "four"].map(|given| {
        json_reply(200, &json!({"access_token": "tok", "expires_in": 0, "refresh_token": given}))
    });
    receiver.script("/token", answers);
    let more = json!({"grant": "refresh_token", "refresh_token": "one"});
    with_tokens(&world, &receiver, &more).await;
    for (n, sent) in [(1, "one"), (2, "two"), (3, "three")] {
        if n == 3 {
            world.restart();
        }
        world.event(&invoice(n)).await;
        let arrivals = receiver.wait_for("/in", n as usize).await;
        delivery(&world, &arrivals[n as usize - 1], "delivered").await;
        let asked = receiver.arrivals("/token");
        let wanted = format!("grant_type=refresh_token&refresh_token={sent}");
        assert_eq!(form(asked.last().unwrap()), wanted);
    }
}

#[tokio::test]
async fn secrets_are_kept_for_the_same_receiver_and_token_server_only() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/token", token_reply("tok-1", 3600));
    with_tokens(&world, &receiver, &json!({"extra": {"resource": "s3cret-resource"}})).await;
    let mut shown = world.get(ENDPOINT).await["auth"].clone();
    assert_eq!([&shown["client_secret"], &shown["extra"]["resource"]], ["***", "***"]);
    shown["scope"] = json!("leads");
    let answer = world.client().patch(ENDPOINT, &json!({"auth": shown})).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.event(&invoice(1)).await;
    receiver.first("/in").await;
    assert!(form(&receiver.first("/token").await).contains("resource=s3cret-resource"));
    for change in [
        json!({"url": "https://evil.example/in", "auth": shown}),
        json!({"auth": {"kind": "oauth2", "token_url": "https://evil.example/token",
                        "client_id": "c", "client_secret": "***"}}),
    ] {
        let answer = world.client().patch(ENDPOINT, &change).await.unwrap();
        let places: Vec<String> = problem(&answer, 422).into_iter().map(|(path, _)| path).collect();
        assert!(places.contains(&"auth.client_secret".to_owned()), "{places:?}");
    }
    let export = world.client().get("/api/v1/config").await.unwrap().text();
    assert!(!export.contains("s3cret-"), "{export}");
    for entry in std::fs::read_dir(world.folder()).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(7).any(|part| part == b"s3cret-"), "{}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_their_place() {
    let Some(world) = World::start(Sqlite).await else { return };
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (more, place) in [
        (
            json!({"auth": {"kind": "oauth2", "token_url": "https://t.example"}}),
            "auth.client_secret",
        ),
        (
            json!({"auth": {"kind": "oauth2", "token_url": "https://t.example", "client_id": "c",
                         "client_auth": "private_key_jwt", "private_key": pem}}),
            "auth.private_key",
        ),
        (json!({"auth": {"kind": "bearer", "token": "a\nb"}}), "auth.token"),
        (
            json!({"auth": {"kind": "bearer", "token": "t"}, "headers": {"Authorization": "x"}}),
            "headers.Authorization",
        ),
        (json!({"tls": {"ca": "none"}}), "tls"),
        (json!({"tls": {"certificate": "c"}}), "tls.certificate"),
        (json!({"url": "http://h.example", "tls": {"min_version": "1.3"}}), "tls"),
        (json!({"auth": {"kind": "mtls", "certificate": "c", "key": "k"}}), "auth"),
    ] {
        let settings = endpoint_with("a", "https://h.example/in", &more);
        let answer = world.client().post("/api/v1/endpoints", &settings).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, place, "{faults:?}");
    }
}

/// A certificate authority, and pairs of certificate and key that it has issued.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }
}

/// Starts a receiver that requires a certificate of this authority, has a certificate with this
/// name, and reports each request. Returns its URL.
async fn start_mutual_tls(
    authority: &Authority,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> (String, mpsc::UnboundedReceiver<Bytes>) {
    let (certificate, key) = authority.issue(name);
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}/in", listener.local_addr().unwrap().port());
    let (told, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let told = told.clone();
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        told.send(body).unwrap();
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::new())))
                    }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                // The test judges broken connections.
                let _broken = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn a_certificate_is_shown_to_a_receiver_of_a_private_authority() {
    let Some(world) = World::start(Sqlite).await else { return };
    let authority = Authority::new();
    let both = [&rustls::version::TLS12, &rustls::version::TLS13];
    let (url, mut requests) = start_mutual_tls(&authority, "127.0.0.1", &both).await;
    let (certificate, key) = authority.issue("waybill.example");
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let own =
        json!({"kind": "mtls", "certificate": certificate, "key": key, "ca": authority.pem()});
    world.endpoint(&endpoint_with("crm", &url, &json!({"auth": own}))).await;
    world.event(&invoice(7)).await;
    let body: Value = serde_json::from_slice(&requests.recv().await.unwrap()).unwrap();
    assert_eq!(body["resource_id"], "7");
    let shown = world.get(ENDPOINT).await;
    assert_eq!(shown["auth"]["key"], "***");
    assert_eq!(shown["auth"]["certificate"], certificate.as_str());
    let test = format!("{ENDPOINT}/test");
    // Requests without a certificate, with a certificate of another authority, or without the right
    // authority are refused.
    let (strange, strange_key) = Authority::new().issue("waybill.example");
    for (tls, word) in [
        (json!({"ca": authority.pem()}), ""),
        (
            json!({"ca": authority.pem(), "certificate": strange.pem(),
                "key": strange_key.serialize_pem()}),
            "",
        ),
        (json!({"certificate": certificate, "key": key}), "UnknownIssuer"),
    ] {
        let change = json!({"auth": null, "tls": tls});
        let answer = world.client().patch(ENDPOINT, &change).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let tested = world.client().post(&test, &json!({})).await.unwrap().data();
        assert!(tested["error_class"].is_string(), "{tested:#}");
        assert!(text(&tested, "error").contains(word), "{tested:#}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn tls_of_an_endpoint_sets_the_name_and_the_lowest_version() {
    let Some(world) = World::start(Sqlite).await else { return };
    let authority = Authority::new();
    let old = [&rustls::version::TLS12];
    let (url, mut requests) = start_mutual_tls(&authority, "erp.internal", &old).await;
    let (certificate, key) = authority.issue("waybill.example");
    let tls = json!({"ca": authority.pem(), "server_name": "erp.internal",
                     "certificate": certificate.pem(), "key": key.serialize_pem()});
    world.endpoint(&endpoint_with("crm", &url, &json!({"tls": tls}))).await;
    world.event(&invoice(1)).await;
    requests.recv().await.unwrap();
    let test = format!("{ENDPOINT}/test");
    for (name, value) in [("server_name", Value::Null), ("min_version", json!("1.3"))] {
        let mut changed = tls.clone();
        changed[name] = value;
        changed["key"] = json!("***");
        let answer = world.client().patch(ENDPOINT, &json!({"tls": changed})).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let tested = world.client().post(&test, &json!({})).await.unwrap().data();
        assert_eq!(tested["error_class"], "tls", "{tested:#}");
    }
    assert!(requests.try_recv().is_err());
}
