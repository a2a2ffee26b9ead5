//! What a request may be, and what a recording answers.

use super::call_values::ModuleBody;
use super::*;
use crate::model::id::ModuleSecretId;
use crate::model::module_secret::{ModuleSecret, ModuleSecretSettings};
use crate::model::secrets::SigningSecrets;
use crate::net::http_client::{ClientReply, ClientSettings};
use crate::signing::usable_secret::UsableSecret;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn grants() -> CapabilityGrants {
    CapabilityGrants {
        http: vec!["a.example".to_owned(), "b.example:8443".to_owned()],
        secrets: vec!["key".to_owned(), "query".to_owned(), "gone".to_owned()],
        ..CapabilityGrants::default()
    }
}

fn request(url: &str) -> ModuleRequest {
    ModuleRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: vec![("x-own".to_owned(), "1".to_owned())],
        secrets: Vec::new(),
        body: Some(ModuleBody::Json(r#"{"n":1.50}"#.to_owned())),
    }
}

fn secret(name: &str, header: Option<&str>, query: Option<&str>) -> (String, Arc<UsableSecret>) {
    let settings = ModuleSecretSettings {
        name: name.to_owned(),
        hosts: vec!["a.example".to_owned()],
        header: header.map(str::to_owned),
        prefix: header.map(|_| "Bearer ".to_owned()),
        query: query.map(str::to_owned),
    };
    let now = Timestamp::default();
    let id = ModuleSecretId::generate();
    let secret = ModuleSecret { id, settings, created_at: now, updated_at: now };
    let secrets = SigningSecrets { current: "s3cret/&".to_owned(), previous: None };
    (name.to_owned(), Arc::new(UsableSecret { secret, secrets: Some(secrets) }))
}

fn secrets() -> UsableSecrets {
    let all = [secret("key", Some("Authorization"), None), secret("query", None, Some("token"))];
    all.into_iter().collect()
}

fn refused(request: &ModuleRequest) -> RequestRefusal {
    let checked = CheckedRequest::new(request, &grants(), Some(&[]));
    checked
        .and_then(|checked| checked.complete(request, &grants(), &secrets()))
        .map(drop)
        .unwrap_err()
}

#[test]
fn only_granted_hosts_are_asked_and_by_tls() {
    for good in ["https://a.example/x", "https://a.example:443/", "https://b.example:8443/?q=1#f"] {
        let checked = CheckedRequest::new(&request(good), &grants(), Some(&[])).unwrap();
        assert!(!checked.url.as_str().contains('#'));
    }
    for bad in [
        "http://a.example/",
        "https://c.example/",
        "https://a.example:8443/",
        "https://b.example/",
        "https://a.example.c.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://a.example./",
        "https://sub.a.example/",
    ] {
        assert_eq!(refused(&request(bad)).code, "denied", "{bad}");
    }
    for bad in ["", "a.example", "ftp://a.example/", "file:///etc/passwd", "https://u:p@a.example/"]
    {
        assert_eq!(refused(&request(bad)).code, "invalid", "{bad}");
    }
    let plain = ["a.example".to_owned()];
    assert!(CheckedRequest::new(&request("http://a.example/"), &grants(), Some(&plain)).is_ok());
}

#[test]
fn headers_of_the_host_are_the_hosts() {
    for name in ["Host", "content-length", "Transfer-Encoding", "bad name", ""] {
        let headers = vec![(name.to_owned(), "1".to_owned())];
        let bad = ModuleRequest { headers, ..request("https://a.example/") };
        assert_eq!(refused(&bad).code, "invalid", "{name}");
    }
    let injected = vec![("x".to_owned(), "1\r\ny: 2".to_owned())];
    let bad = ModuleRequest { headers: injected, ..request("https://a.example/") };
    assert_eq!(refused(&bad).code, "invalid");
    let many = vec![("x".to_owned(), "1".to_owned()); 65];
    let bad = ModuleRequest { headers: many, ..request("https://a.example/") };
    assert_eq!(refused(&bad).code, "limit");
    let method = ModuleRequest { method: "CONNECT".to_owned(), ..request("https://a.example/") };
    assert_eq!(refused(&method).code, "invalid");
}

#[test]
fn a_secret_goes_to_its_own_hosts_and_into_no_digest() {
    let with =
        |url: &str, name: &str| ModuleRequest { secrets: vec![name.to_owned()], ..request(url) };
    let own = with("https://a.example/x?a=1", "key");
    let checked = CheckedRequest::new(&own, &grants(), Some(&[])).unwrap();
    let digest = checked.digest(&own);
    let (made, _) = checked.complete(&own, &grants(), &secrets()).unwrap();
    assert_eq!(
        (&made.method, &made.headers["authorization"]),
        (&Method::POST, &HeaderValue::from_static("Bearer s3cret/&"))
    );
    assert!(!format!("{:?}", made.headers).contains("s3cret"), "it is marked as sensitive");
    assert_eq!(made.headers["content-type"], "application/json");
    assert_ne!(digest, {
        let other = with("https://a.example/x?a=1", "query");
        CheckedRequest::new(&other, &grants(), Some(&[])).unwrap().digest(&other)
    });
    let query = with("https://a.example/x?a=1", "query");
    let checked = CheckedRequest::new(&query, &grants(), Some(&[])).unwrap();
    let (made, _) = checked.complete(&query, &grants(), &secrets()).unwrap();
    assert_eq!(made.uri.query(), Some("a=1&token=s3cret%2F%26"));
    assert_eq!(refused(&with("https://b.example:8443/", "key")).code, "denied");
    assert_eq!(refused(&with("https://a.example/", "other")).code, "denied");
    assert_eq!(refused(&with("https://a.example/", "gone")).code, "unknown_secret");
    let named = vec![("authorization".to_owned(), "mine".to_owned())];
    let both = ModuleRequest { headers: named, ..with("https://a.example/", "key") };
    assert_eq!(refused(&both).code, "invalid");
}

#[test]
fn an_answer_is_read_by_its_type_and_without_cookies() {
    let reply = |kind: &'static str, body: &'static [u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::SET_COOKIE, HeaderValue::from_static("session=1"));
        ModuleReply::of(&ClientReply {
            status: http::StatusCode::OK,
            version: http::Version::HTTP_11,
            headers,
            body: Bytes::from_static(body),
            truncated: false,
            duration: Duration::ZERO,
        })
    };
    let json = reply("application/vnd.api+json; charset=utf-8", br#"{"n":1.50}"#);
    assert_eq!(json.body, ModuleBody::Json(r#"{"n":1.50}"#.to_owned()));
    assert_eq!(json.headers.len(), 1);
    assert_eq!(reply("application/json", b"{").body, ModuleBody::Text("{".to_owned()));
    assert_eq!(reply("image/png", b"\xff\x00").body, ModuleBody::Bytes(vec![0xff, 0]));
    let stored = serde_json::to_string(&reply("image/png", b"\xff\x00")).unwrap();
    assert_eq!(
        serde_json::from_str::<ModuleReply>(&stored).unwrap().body,
        ModuleBody::Bytes(vec![0xff, 0])
    );
}

#[tokio::test]
async fn a_run_that_makes_no_requests_answers_what_was_recorded_alone() {
    let calls = EventCalls::recorded(None, EventId::generate(), FlowId::generate());
    let answer =
        ModuleReply { status: 201, headers: Vec::new(), body: ModuleBody::Text("x".to_owned()) };
    let first = request("https://a.example/1");
    let digest = CheckedRequest::new(&first, &grants(), None).unwrap().digest(&first);
    let answer_text = serde_json::to_string(&answer).unwrap();
    let recorded = ModuleAnswer { position: 0, request: digest, answer: answer_text };
    calls.course.lock().await.recorded = Some(vec![recorded]);
    let (grants, none) = (grants(), UsableSecrets::new());
    let ask = |url: &str| calls.answer(&grants, &none, request(url));
    assert_eq!(ask("https://a.example/1").await.unwrap(), answer);
    assert_eq!(ask("https://a.example/1").await.unwrap_err().code, "not_recorded");
    for _ in 2..MOST_CALLS {
        assert_eq!(ask("https://a.example/2").await.unwrap_err().code, "not_recorded");
    }
    assert_eq!(ask("https://a.example/2").await.unwrap_err().code, "limit");
    assert_eq!(ask("https://c.example/").await.unwrap_err().code, "denied");
}

/// Starts a server that answers one request with a redirect to its own target, and with the whole
/// request as the body. Returns its host.
async fn start_echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(br#"{"n":1.50}"#) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let request = String::from_utf8(request).unwrap();
        let target = request.split(' ').nth(1).unwrap();
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nConnection: close\r\n");
        let answer = format!("{head}Content-Length: {}\r\n\r\n{request}", request.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    host
}

#[tokio::test]
async fn an_answer_that_repeats_its_request_shows_no_secret() {
    let host = start_echo().await;
    let client = DeliveryClient::new(ClientSettings {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        extra_ca_pem: None,
        name_servers: Vec::new(),
        max_connections: 4,
    });
    let client = ModuleClient::new(client.unwrap(), std::slice::from_ref(&host));
    let calls = EventCalls {
        client: Some(client),
        ..EventCalls::recorded(None, EventId::generate(), FlowId::generate())
    };
    let grants = CapabilityGrants { http: vec![host.clone()], ..grants() };
    let mut secrets = secrets();
    for secret in secrets.values_mut() {
        Arc::get_mut(secret).unwrap().secret.settings.hosts = vec![host.clone()];
    }
    let names = vec!["key".to_owned(), "query".to_owned()];
    let request = ModuleRequest { secrets: names, ..request(&format!("http://{host}/x?a=1")) };
    let reply = calls.answer(&grants, &secrets, request).await.unwrap();
    let location = reply.headers.iter().find(|(name, _)| name == "location");
    assert_eq!(location.unwrap().1, "/x?a=1&token=***");
    let ModuleBody::Text(body) = &reply.body else { panic!("{:?}", reply.body) };
    assert!(body.contains("authorization: ***\r\n"), "{body}");
    assert!(!body.contains("s3cret"), "{body}");
}
