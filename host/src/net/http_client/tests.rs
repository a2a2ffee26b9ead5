//! Tests of the client against real servers on loopback. No test waits for longer than a request's
//! time-out.

pub mod server;

use super::permit::PermitKeeper;
use super::*;
use crate::net::header_case::header_case;
use http::Version;
use http::{HeaderName, HeaderValue, header};
use server::{Script, Server, SilentRelay, Tls};
use std::sync::atomic::{AtomicUsize, Ordering};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn client_for(networks: &[&str], extra_ca_pem: Option<Vec<u8>>) -> DeliveryClient {
    let allow_networks = networks.iter().map(|net| net.parse().unwrap()).collect();
    DeliveryClient::new(ClientSettings {
        allow_networks,
        extra_ca_pem,
        name_servers: Vec::new(),
        max_connections: 64,
    })
    .unwrap()
}

impl DeliveryClient {
    /// Sends a request that cannot be withdrawn.
    async fn post(
        &self,
        request: ClientRequest,
        timeout: Duration,
    ) -> Result<ClientReply, SendError> {
        self.send(request, timeout, pending()).await.unwrap()
    }
}

fn client() -> DeliveryClient {
    client_for(&["127.0.0.0/8", "::1/128"], None)
}

fn request(uri: &str) -> ClientRequest {
    let headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )]);
    ClientRequest {
        method: Method::POST,
        uri: uri.parse().unwrap(),
        headers,
        header_case: None,
        body: Bytes::from_static(b"{\"id\":17}"),
        permit: None,
        is_sent_once: false,
    }
}

async fn class_of(server: &Server) -> ErrorClass {
    client().post(request(&server.url()), LONG).await.unwrap_err().class
}

#[tokio::test]
async fn a_reply_comes_back_whole() {
    let server = Server::start(Script::Answer(
        "HTTP/1.1 202 Accepted\r\nx-note: hello\r\ncontent-length: 4\r\n\r\ndone",
    ))
    .await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(reply.version, Version::HTTP_11);
    assert_eq!(reply.headers.get("x-note").unwrap(), "hello");
    assert_eq!((&reply.body[..], reply.truncated), (&b"done"[..], false));
    let sent = server.request().await;
    assert!(sent.starts_with("POST /hook?a=1 HTTP/1.1\r\n"), "{sent}");
    assert!(
        sent.contains("content-type: application/json\r\n")
            && sent.contains("content-length: 9\r\n")
    );
    assert!(sent.contains(&format!("host: 127.0.0.1:{}\r\n", server.port())), "{sent}");
    assert!(sent.ends_with("{\"id\":17}"), "{sent}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(Script::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let client = client();
    for _ in 0..5 {
        let reply = client.post(request(&server.url()), LONG).await.unwrap();
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        server.request().await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn header_names_are_written_in_their_case() {
    let server = Server::start(Script::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let mut request = request(&server.url());
    for name in ["SOAPAction", "X-Legacy-Token", "x-lower"] {
        request.headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("1"));
    }
    request.header_case = header_case(["SOAPAction", "X-Legacy-Token", "x-lower"]);
    client().post(request, LONG).await.unwrap();
    let sent = server.request().await;
    for line in ["SOAPAction: 1", "X-Legacy-Token: 1", "x-lower: 1", "content-type: "] {
        assert!(sent.contains(&format!("\r\n{line}")), "{line}: {sent}");
    }
}

#[tokio::test]
async fn a_reply_may_have_hundreds_of_headers() {
    let server = Server::start(Script::Headers(900)).await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!((reply.status, reply.headers.len()), (StatusCode::OK, 901));
}

#[tokio::test]
async fn a_pooled_connection_that_is_closed_costs_no_attempt() {
    for script in [Script::Once, Script::OnceThenReset] {
        let server = Server::start(script).await;
        let client = client();
        // Three connections stay open. Each breaks at its second request.
        let together = (0..3).map(|_| client.post(request(&server.url()), LONG));
        for reply in futures_util::future::join_all(together).await {
            assert_eq!(reply.unwrap().status, StatusCode::NO_CONTENT);
        }
        for _ in 0..4 {
            let reply = client.post(request(&server.url()), LONG).await.unwrap();
            assert_eq!(reply.status, StatusCode::NO_CONTENT);
        }
        assert!(server.requests() > server.connections(), "no request was sent again");
    }
}

#[tokio::test]
async fn a_pooled_connection_that_breaks_within_an_answer_is_lost() {
    let server = Server::start(Script::OnceThenHalf).await;
    let client = client();
    client.post(request(&server.url()), LONG).await.unwrap();
    let error = client.post(request(&server.url()), LONG).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::ConnectionLost);
    assert_eq!((server.requests(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_request_that_is_withdrawn_in_time_is_not_sent() {
    let server = Server::start(Script::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let client = client();
    assert!(client.send(request(&server.url()), LONG, async {}).await.is_none());
    client.post(request(&server.url()), LONG).await.unwrap();
    assert_eq!(server.requests(), 1);
}

/// A permit that is lost after this number of checks.
#[derive(Debug)]
struct Looks(AtomicUsize);

impl PermitKeeper for Looks {
    fn holds(&self, _number: i64) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

fn permit_for(looks: usize) -> SendPermit {
    SendPermit { keeper: Arc::new(Looks(AtomicUsize::new(looks))), number: 1 }
}

#[tokio::test]
async fn a_request_whose_permit_is_lost_on_its_way_to_the_socket_is_not_sent() {
    let server = Server::start(Script::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let client = client();
    for looks in [1, 0, 1] {
        let request = ClientRequest { permit: Some(permit_for(looks)), ..request(&server.url()) };
        assert_eq!(client.send(request, LONG, pending()).await.is_some(), looks == 1);
    }
    assert_eq!(server.requests(), 2);
}

/// A process that was stopped finds its pooled connections closed.
#[tokio::test]
async fn a_request_whose_permit_is_lost_is_not_sent_again_on_another_connection() {
    let server = Server::start(Script::Once).await;
    let client = client();
    client.post(request(&server.url()), LONG).await.unwrap();
    let request = ClientRequest { permit: Some(permit_for(1)), ..request(&server.url()) };
    assert!(client.send(request, LONG, pending()).await.is_none());
}

#[tokio::test]
async fn a_long_body_is_stopped_when_its_permit_is_lost() {
    let body = Bytes::from(vec![b' '; 1 << 20]);
    let server = Server::start(Script::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let request = ClientRequest { permit: Some(permit_for(3)), body, ..request(&server.url()) };
    assert!(client().send(request, LONG, pending()).await.is_none());
}

#[tokio::test]
async fn idle_connections_make_room_for_others() {
    let answer = Script::Answer("HTTP/1.1 204 No Content\r\n\r\n");
    let (first, second) = (Server::start(answer).await, Server::start(answer).await);
    let allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let settings = ClientSettings {
        allow_networks,
        extra_ca_pem: None,
        name_servers: Vec::new(),
        max_connections: 1,
    };
    let client = DeliveryClient::new(settings).unwrap();
    for server in [&first, &second, &first] {
        client.post(request(&server.url()), LONG).await.unwrap();
    }
    assert_eq!((first.connections(), second.connections()), (2, 1));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(Script::Answer(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    ))
    .await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    server.request().await;
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_times_out() {
    let server = Server::start(Script::Hang).await;
    let error = client().post(request(&server.url()), SHORT).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert_eq!(error.to_string(), "no reply within 300ms");
}

#[tokio::test]
async fn headers_byte_by_byte_time_out() {
    let server = Server::start(Script::Drip("HTTP/1.1 200 OK\r\nx: ")).await;
    let error = client().post(request(&server.url()), SHORT).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_is_cut_and_the_status_counts() {
    let server =
        Server::start(Script::Drip("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")).await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.truncated && reply.body.len() < MAX_REPLY_BODY);
    assert!(reply.body.iter().all(|&byte| byte == b'.'));
}

#[tokio::test]
async fn an_endless_body_is_cut_at_16_kib() {
    let server = Server::start(Script::Flood("HTTP/1.1 200 OK\r\n\r\n")).await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!((reply.body.len(), reply.truncated), (MAX_REPLY_BODY, true));
    assert!(server.closed_by_client().await < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_body_of_exactly_16_kib_is_whole() {
    let server = Server::start(Script::Sized(MAX_REPLY_BODY)).await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!((reply.body.len(), reply.truncated), (MAX_REPLY_BODY, false));
    let server = Server::start(Script::Sized(MAX_REPLY_BODY + 1)).await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!((reply.body.len(), reply.truncated), (MAX_REPLY_BODY, true));
}

#[tokio::test]
async fn a_reply_whose_body_breaks_off_keeps_its_status() {
    let server =
        Server::start(Script::Vanish("HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\nabc"))
            .await;
    let reply = client().post(request(&server.url()), LONG).await.unwrap();
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!((&reply.body[..], reply.truncated), (&b"abc"[..], true));
}

#[tokio::test]
async fn a_receiver_that_vanishes_is_a_lost_connection() {
    assert_eq!(
        class_of(&Server::start(Script::Vanish("")).await).await,
        ErrorClass::ConnectionLost
    );
    let half = Server::start(Script::Vanish("HTTP/1.1 200 OK\r\nx: ")).await;
    assert_eq!(class_of(&half).await, ErrorClass::ConnectionLost);
    assert_eq!(class_of(&Server::start(Script::Reset).await).await, ErrorClass::ConnectionLost);
}

#[tokio::test]
async fn a_reply_that_is_not_http_is_a_protocol_error() {
    for answer in
        ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 9999 Huh\r\n\r\n", "\0\0\0\0\0\0\0\0\0\0\r\n\r\n"]
    {
        let server = Server::start(Script::Vanish(answer)).await;
        assert_eq!(class_of(&server).await, ErrorClass::Protocol, "{answer:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_a_connect_error() {
    let url = Server::start(Script::Hang).await.closed_url().await;
    let error = client().post(request(&url), LONG).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Connect);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_unknown_name_is_a_dns_error() {
    // This name server answers every name with "does not exist".
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let name_servers = vec![socket.local_addr().unwrap()];
    tokio::spawn(async move {
        let mut packet = [0; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            packet[2..4].copy_from_slice(&[0x81, 0x83]);
            socket.send_to(&packet[..length], from).await.unwrap();
        }
    });
    let settings = ClientSettings {
        allow_networks: Vec::new(),
        extra_ca_pem: None,
        name_servers,
        max_connections: 1,
    };
    let client = DeliveryClient::new(settings).unwrap();
    let error = client.post(request("http://waybill-test.example/"), LONG).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Dns);
    assert!(error.to_string().contains("`waybill-test.example`"), "{error}");
}

#[tokio::test]
async fn forbidden_addresses_are_not_dialled_in_any_form() {
    let server = Server::start(Script::Answer("HTTP/1.1 200 OK\r\n\r\n")).await;
    let strict = client_for(&[], None);
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
    ] {
        let url = format!("http://{host}:{}/", server.port());
        let error = strict.post(request(&url), LONG).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::AddressForbidden, "{host}: {error}");
        assert!(error.to_string().contains("delivery.allow_networks"), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_is_dialled_at_its_permitted_addresses_only() {
    let server = Server::start(Script::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let url = format!("http://localhost:{}/", server.port());
    let reply = client_for(&["127.0.0.0/8"], None).post(request(&url), LONG).await.unwrap();
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let error = client_for(&["10.0.0.0/8"], None).post(request(&url), LONG).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::AddressForbidden);
}

#[tokio::test]
async fn certificates_of_a_further_authority_are_trusted() {
    let tls = Tls::new(&["localhost", "127.0.0.1"]);
    let server = Server::start_tls(
        Script::Answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        &tls,
        &[],
    )
    .await;
    let trusting = client_for(&["127.0.0.0/8"], Some(tls.authority_pem()));
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/", server.port());
        let reply = trusting.post(request(&url), LONG).await.unwrap();
        assert_eq!((reply.status, reply.version), (StatusCode::OK, Version::HTTP_11));
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_listed_is_trusted() {
    for is_authority in [true, false] {
        let tls = Tls::self_signed("localhost", is_authority);
        let answer = Script::Answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let server = Server::start_tls(answer, &tls, &[]).await;
        let url = format!("https://localhost:{}/", server.port());
        let trusting = client_for(&["127.0.0.0/8"], Some(tls.authority_pem()));
        let reply = trusting.post(request(&url), LONG).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        let other = format!("https://127.0.0.1:{}/", server.port());
        let name = trusting.post(request(&other), LONG).await.unwrap_err();
        assert!(name.to_string().contains("subjectAltName"), "{name}");
        let strict = client().post(request(&url), LONG).await.unwrap_err();
        assert_eq!(strict.class, ErrorClass::Tls);
        assert!(strict.to_string().contains("delivery.ca_file"), "{strict}");
        let another = Tls::self_signed("localhost", is_authority).authority_pem();
        let another = client_for(&["127.0.0.0/8"], Some(another));
        assert_eq!(another.post(request(&url), LONG).await.unwrap_err().class, ErrorClass::Tls);
    }
}

#[tokio::test]
async fn bad_certificates_are_tls_errors() {
    let answer = Script::Answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let tls = Tls::new(&["localhost"]);
    let server = Server::start_tls(answer, &tls, &[]).await;
    let url = format!("https://localhost:{}/", server.port());
    let unknown = client().post(request(&url), LONG).await.unwrap_err();
    assert_eq!(unknown.class, ErrorClass::Tls);
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    let trusting = client_for(&["127.0.0.0/8"], Some(tls.authority_pem()));
    let url = format!("https://127.0.0.1:{}/", server.port());
    let name = trusting.post(request(&url), LONG).await.unwrap_err();
    assert_eq!(name.class, ErrorClass::Tls);
    assert!(name.to_string().contains("not valid for name"), "{name}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_error() {
    for script in [Script::Vanish(""), Script::Vanish("HTTP/1.1 400 Bad Request\r\n\r\n")] {
        let server = Server::start(script).await;
        let url = server.url().replace("http:", "https:");
        let error = client().post(request(&url), LONG).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Tls, "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_times_out() {
    let server = Server::start(Script::Hang).await;
    let url = server.url().replace("http:", "https:");
    assert_eq!(client().post(request(&url), SHORT).await.unwrap_err().class, ErrorClass::Timeout);
}

#[tokio::test]
async fn http_2_is_used_if_tls_negotiates_it() {
    let tls = Tls::new(&["localhost"]);
    let server = Server::start_http2(&tls).await;
    let trusting = client_for(&["127.0.0.0/8"], Some(tls.authority_pem()));
    let url = format!("https://localhost:{}/hook", server.port());
    // The version is known once the first connection exists. The other requests then share it.
    trusting.post(request(&url), LONG).await.unwrap();
    let many = (0..20).map(|_| trusting.post(request(&url), LONG));
    for reply in futures_util::future::join_all(many).await {
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.version), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(&reply.body[..], b"POST /hook {\"id\":17}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_silent_http_2_connection_is_closed() {
    let tls = Tls::new(&["localhost"]);
    let server = Server::start_http2(&tls).await;
    let relay = SilentRelay::start(server.port()).await;
    let settings = ClientSettings {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        extra_ca_pem: Some(tls.authority_pem()),
        name_servers: Vec::new(),
        max_connections: 64,
    };
    let client = DeliveryClient::with_silence(settings, Duration::from_secs(1)).unwrap();
    let url = format!("https://localhost:{}/hook", relay.port());
    client.post(request(&url), LONG).await.unwrap();
    relay.silence_connections();
    // The connection had been used before, so this request is sent again on a new one.
    let reply = client.post(request(&url), LONG).await.unwrap();
    assert_eq!((reply.status, reply.version), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(server.connections(), 2);
}
