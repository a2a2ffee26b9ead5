//! Clumsy and hostile clients: the resources that each can take are bounded, and none blocks
//! another.
//!
//! Their requests are written byte by byte, as no proper client would. The forms are those of RFC
//! 9112 (sections 6.1, 6.3 and 11.2), of RFC 9113 and of CVE-2023-44487.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use waybill_tests::Backend::Sqlite;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::{Receiver, Reply, Settings, World};

use crate::support::{endpoint, endpoint_with, invoice};

/// Time that the server has to end a connection or to answer.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// Pause between two bytes of a slow client, and between two checks.
pub(crate) const PACE: Duration = Duration::from_millis(20);
/// Longer than any test takes, so that no connection times out.
const NEVER: &str = "10m";
/// A request that is answered at once.
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
/// The beginning of an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// GET /healthz by HPACK's static table (RFC 7541, appendix A).
const GET: &[u8] = b"\x82\x86\x04\x08/healthz\x01\x01a";
/// Types of frames (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// Starts a world whose connections have this long for headers and between requests.
async fn patient_for(time: &str) -> Option<World> {
    World::start_with(Sqlite, |settings: &mut Settings| {
        settings.set("server.header_timeout", time);
    })
    .await
}

/// Opens a connection without sending anything.
pub(crate) async fn connect(world: &World) -> TcpStream {
    let (_, address) = world.server().address().split_once("://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Sends the bytes, and returns the answer until the server ends the connection, as it must.
pub(crate) async fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let (reading, mut writing) = stream.split();
    let mut reading = reading.take(1 << 20);
    // The server may end the connection before everything is sent, with or without a reset.
    let both = async { tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut answer)) };
    let ended = timeout(LIMIT, both).await.is_ok();
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert!(ended, "open after {start:?}: {}", String::from_utf8_lossy(&answer));
    answer
}

/// Sends a start and then a byte at a time until the server ends the connection, as it must.
async fn drip(mut stream: TcpStream, start: Vec<u8>) {
    stream.write_all(&start).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let dripping = async {
        while writing.write_all(b"a").await.is_ok() {
            sleep(PACE).await;
        }
    };
    let mut answer = Vec::new();
    let ended = timeout(LIMIT, async {
        tokio::select! {
            () = dripping => {}
            _ = reading.read_to_end(&mut answer) => {}
        }
    });
    assert!(ended.await.is_ok(), "open after {:?}", String::from_utf8_lossy(&start));
}

/// Sends a request on a connection that stays open, and checks its answer.
async fn healthy(stream: &mut TcpStream) {
    stream.write_all(HEALTH).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = timeout(LIMIT, stream.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "ended after {:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(statuses(&answer), [200]);
}

/// Returns the status of each answer in the bytes.
pub(crate) fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let after = text.split("HTTP/1.").skip(1);
    after.map(|rest| rest.chars().skip(2).take(3).collect::<String>().parse().unwrap()).collect()
}

/// Checks that another client, on its own connection, is answered.
async fn others_are_served(world: &World) {
    let other = world.client_with(Some(ADMIN_TOKEN));
    for path in ["/healthz", "/api/v1/flows"] {
        let answer = other.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

/// Returns a request with the admin token, up to the end of its headers.
fn post(version: &str, headers: &str) -> String {
    format!(
        "POST /api/v1/events HTTP/{version}\r\nHost: a\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
         Content-Type: application/json\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn connections_that_bring_no_request_are_ended() {
    let Some(world) = patient_for("4s").await else { return };
    let start = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ".as_slice();
    let later = [HEALTH, start].concat();
    let open = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let half = [open.as_slice(), &frame(HEADERS, 1, 1, GET)].concat();
    let mut slow = JoinSet::new();
    for bytes in [b"".as_slice(), b"PRI * HT", PREFACE, start, HEALTH, &later, &open, &half] {
        let (stream, bytes) = (connect(&world).await, bytes.to_vec());
        slow.spawn(async move { drop(exchange(stream, &bytes).await) });
    }
    for start in [start, &later].repeat(25) {
        slow.spawn(drip(connect(&world).await, start.to_vec()));
    }
    others_are_served(&world).await;
    slow.join_all().await;
    others_are_served(&world).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let set = |settings: &mut Settings| {
        settings.set("server.body_timeout", "1s").set("server.header_timeout", NEVER);
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let request = post("1.1", "Content-Length: 1000\r\n") + "{\"type\":\"a";
    let dripping = tokio::spawn(drip(connect(&world).await, request.clone().into()));
    let stream = connect(&world).await;
    let silent = tokio::spawn(async move { exchange(stream, request.as_bytes()).await });
    others_are_served(&world).await;
    let answer = silent.await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(statuses(answer.as_bytes()), [408], "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], 408);
    assert!(problem["detail"].as_str().unwrap().contains("1s"), "{problem}");
    dripping.await.unwrap();
    assert_eq!(world.get("/api/v1/events").await, json!([]), "nothing is captured");
}

#[tokio::test]
async fn headers_without_measure_are_refused() {
    let Some(world) = patient_for(NEVER).await else { return };
    let request = |headers: &str| format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let many = "X-A: a\r\n".repeat(200);
    let wide = format!("X-A: {}\r\n", "a".repeat(2_000)).repeat(64);
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(1 << 20));
    for (request, expected) in [
        (request(&many), [431].as_slice()),
        (request(&wide), &[431]),
        (request(&format!("X-Long: {}\r\n", "a".repeat(80 << 10))), &[431]),
        (request(&format!("{}: a\r\n", "a".repeat(80 << 10))), &[431, 400]),
        (path, &[414, 431]),
        ("a".repeat(1 << 20), &[400, 414, 431]),
    ] {
        let answer = exchange(connect(&world).await, request.as_bytes()).await;
        // A client that is still sending when the connection ends may not see an answer.
        let refused = match statuses(&answer)[..] {
            [] => request.len() > 4 << 10,
            [only] => expected.contains(&only),
            _ => false,
        };
        assert!(refused, "{}", String::from_utf8_lossy(&answer));
        others_are_served(&world).await;
    }
}

/// Returns how many connections this process can hold within its limit of open files.
#[expect(clippy::print_stderr, reason = "says what a run could not show")]
fn room() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    // The server and this process need some files for other things.
    let room = limit.current.unwrap_or(u64::MAX).saturating_sub(1_024);
    if room < 10_000 {
        eprintln!("{room} connections instead of 10000: the limit of open files is low");
    }
    room.min(10_000)
}

#[tokio::test]
async fn ten_thousand_connections_rest_while_others_are_served() {
    let Some(world) = patient_for(NEVER).await else { return };
    let mut resting = Vec::new();
    for _ in 0..room() {
        let stream = connect(&world).await;
        // Many closing connections would disturb later tests.
        stream.set_zero_linger().unwrap();
        resting.push(stream);
    }
    others_are_served(&world).await;
    for stream in &mut resting {
        healthy(stream).await;
    }
    others_are_served(&world).await;
}

#[tokio::test]
async fn connections_that_rest_make_room_and_those_that_work_do_not() {
    let set = |settings: &mut Settings| {
        settings.set("server.max_connections", "8").set("server.header_timeout", NEVER);
        settings.set("immediate.wait", "60s");
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Held);
    let more = json!({"mode": "immediate"});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    let caller = world.client_with(Some(ADMIN_TOKEN));
    let working = tokio::spawn(async move { caller.post("/api/v1/events", &invoice(1)).await });
    receiver.first("/a").await;
    let mut resting = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(&world).await;
        healthy(&mut stream).await;
        resting.push(stream);
    }
    others_are_served(&world).await;
    exchange(resting.swap_remove(0), b"").await;
    receiver.release("/a");
    let answer = working.await.unwrap().unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Returns requests that some parsers read as one and some as two, the second being `hidden`; each
/// with its name.
fn ambiguous(hidden: &str) -> Vec<(&'static str, String)> {
    let inside = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let behind = format!("0\r\n\r\n{hidden}");
    let plain = format!("hello{hidden}");
    let te = "Transfer-Encoding: chunked\r\n";
    let long = format!("Content-Length: {}\r\n{te}", behind.len());
    let short = format!("{te}Content-Length: 4\r\n");
    [
        ("length and chunked", "1.1", long.as_str(), &behind),
        ("chunked and length", "1.1", &short, &inside),
        ("two lengths", "1.1", "Content-Length: 5\r\nContent-Length: 6\r\n", &plain),
        ("a list of lengths", "1.1", "Content-Length: 5, 6\r\n", &plain),
        ("a length with a sign", "1.1", "Content-Length: +5\r\n", &plain),
        ("a hexadecimal length", "1.1", "Content-Length: 0x5\r\n", &plain),
        ("a length beyond 64 bits", "1.1", "Content-Length: 18446744073709551621\r\n", &plain),
        ("an unknown coding", "1.1", "Transfer-Encoding: xchunked\r\n", &behind),
        ("chunked not last", "1.1", "Transfer-Encoding: chunked, identity\r\n", &behind),
        ("a space before the colon", "1.1", "Transfer-Encoding : chunked\r\n", &behind),
        ("a vertical tab", "1.1", "Transfer-Encoding: \x0bchunked\r\n", &behind),
        ("a folded line", "1.1", "Transfer-Encoding:\r\n chunked\r\n", &behind),
        ("another folded line", "1.1", "X-A: a\r\n Transfer-Encoding: chunked\r\n", &behind),
        ("a bare CR", "1.1", "X-A: a\rTransfer-Encoding: chunked\r\n", &behind),
        ("chunked in HTTP/1.0", "1.0", te, &behind),
        ("a size with garbage", "1.1", te, &format!("5xyz\r\nhello\r\n{behind}")),
        ("a size beyond 64 bits", "1.1", te, &format!("10000000000000005\r\nhello\r\n{behind}")),
        ("a chunk longer than its size", "1.1", te, &format!("5\r\nhello!!{behind}")),
        ("an extension with a bare LF", "1.1", te, &format!("5;\nhello\r\n{behind}")),
    ]
    .map(|(name, version, headers, body)| (name, post(version, headers) + body))
    .into()
}

#[tokio::test]
async fn no_request_is_smuggled_inside_another() {
    let Some(world) = patient_for(NEVER).await else { return };
    let hidden = format!(
        "GET /api/v1/tokens HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    );
    let proper = post("1.1", "Content-Length: 5\r\n") + "hello" + &hidden;
    let answer = exchange(connect(&world).await, proper.as_bytes()).await;
    assert_eq!(statuses(&answer), [400, 200], "one behind the other is two requests");
    for (name, request) in ambiguous(&hidden) {
        let answer = exchange(connect(&world).await, request.as_bytes()).await;
        let refused = match statuses(&answer)[..] {
            [] => true,
            [only] => (400..500).contains(&only) || only == 501,
            _ => false,
        };
        assert!(refused, "{name}: {}", String::from_utf8_lossy(&answer));
        others_are_served(&world).await;
    }
    assert_eq!(world.get("/api/v1/events").await, json!([]), "nothing is captured");
}

/// Returns a frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the type and the payload of each whole frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let Some((payload, next)) = rest.split_at_checked(length as usize) else { break };
        found.push((head[3], payload));
        bytes = next;
    }
    found
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_their_connection() {
    let Some(world) = patient_for(NEVER).await else { return };
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    for stream in (1..10_000).step_by(2) {
        bytes.extend(frame(HEADERS, 5, stream, GET));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    for _ in 0..4 {
        let (stream, bytes) = (connect(&world).await, bytes.clone());
        let flood = tokio::spawn(async move { exchange(stream, &bytes).await });
        others_are_served(&world).await;
        let answer = flood.await.unwrap();
        for (_, why) in frames(&answer).iter().filter(|(kind, _)| *kind == GOAWAY) {
            assert_eq!(why[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
        }
        others_are_served(&world).await;
    }
}

#[tokio::test]
async fn a_ping_of_http2_holds_no_connection() {
    let Some(world) = patient_for("4s").await else { return };
    let idle = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    // A window of zero: the answers stay in the server's memory.
    let closed = [PREFACE, &frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00")].concat();
    let get = frame(HEADERS, 5, 1, b"\x82\x86\x04\x0d/openapi.json\x01\x01a");
    let mut pinging = JoinSet::new();
    for start in [idle, [closed, get].concat()] {
        for _ in 0..4 {
            let (mut stream, start) = (connect(&world).await, start.clone());
            pinging.spawn(async move {
                stream.write_all(&start).await.unwrap();
                while stream.write_all(&frame(PING, 0, 0, b"12345678")).await.is_ok() {
                    sleep(PACE).await;
                }
            });
        }
    }
    timeout(LIMIT, pinging.join_all()).await.unwrap();
    others_are_served(&world).await;
}

#[tokio::test]
async fn headers_of_http2_without_measure_are_refused() {
    let Some(world) = patient_for("4s").await else { return };
    let open = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    // Not indexed, name `a`, a value of 120 bytes; and the same stored in the table.
    let field = |kind: u8| [&[kind, 1, b'a', 120][..], &[b'a'; 120]].concat();
    let fields = field(0).repeat(90);
    let start = [open.as_slice(), &frame(HEADERS, 1, 1, GET)].concat();
    let (part, last) = (frame(CONTINUATION, 0, 1, &fields), frame(CONTINUATION, 4, 1, &fields));
    let nothing = frame(CONTINUATION, 0, 1, b"");
    let kept = [GET, &field(0x40), &[0xbe; 16_000]].concat();
    for (name, answered, bytes) in [
        ("some", true, [start.as_slice(), &last].concat()),
        ("parts without end", false, [start.as_slice(), &part.repeat(1_000)].concat()),
        ("empty parts", false, [start.as_slice(), &nothing.repeat(100_000)].concat()),
        ("too many", false, [start.as_slice(), &part.repeat(5), &last].concat()),
        ("one byte for many", false, [open.as_slice(), &frame(HEADERS, 5, 1, &kept)].concat()),
    ] {
        let answer = exchange(connect(&world).await, &bytes).await;
        // 200 is the eighth entry of HPACK's static table.
        let found = frames(&answer).iter().any(|(kind, at)| *kind == HEADERS && at[0] == 0x88);
        assert_eq!(found, answered, "{name}");
        others_are_served(&world).await;
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_when_the_server_is_told_to_stop() {
    let set = |settings: &mut Settings| {
        settings.set("immediate.wait", "60s").set("shutdown.grace", "60s");
        settings.set("server.header_timeout", NEVER);
    };
    let Some(mut world) = World::start_with(Sqlite, set).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Held);
    let more = json!({"mode": "immediate"});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    let mut resting = connect(&world).await;
    healthy(&mut resting).await;
    let (address, caller) = (resting.peer_addr().unwrap(), world.client_with(Some(ADMIN_TOKEN)));
    let call = tokio::spawn(async move { caller.post("/api/v1/events", &invoice(1)).await });
    receiver.first("/a").await;
    let stopping = tokio::task::spawn_blocking(move || world.stop());
    exchange(resting, b"").await;
    let refused = timeout(LIMIT, async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(PACE).await;
        }
    });
    assert!(refused.await.is_ok(), "no connections are taken any more");
    receiver.release("/a");
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.data()["deliveries"][0]["status"], "delivered");
    stopping.await.unwrap();
}

#[tokio::test]
async fn requests_that_withhold_their_body_make_room_for_others() {
    let set = |settings: &mut Settings| {
        settings.set("server.max_connections", "8").set("server.header_timeout", NEVER);
        settings.set("server.body_timeout", NEVER);
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    // The sender of a webhook is unknown until all of it has arrived.
    let hook = json!({"name": "hook", "kind": "webhook", "webhook": {"scheme": "github"}, "secret": "It's a secret"});
    world.post("/api/v1/sources", &hook).await;
    let start = "POST /in/hook HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{";
    let mut slow = JoinSet::new();
    for _ in 0..8 {
        slow.spawn(drip(connect(&world).await, start.into()));
    }
    others_are_served(&world).await;
    // Each gives way to a client with a token.
    while !slow.is_empty() {
        others_are_served(&world).await;
        while slow.try_join_next().is_some() {}
    }
}

/// Number of open files of the server in the test below.
const FEW_FILES: u64 = 1_024;

#[tokio::test]
async fn endpoints_that_hang_keep_nobody_from_being_accepted_or_sent_to() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.most_files = Some(FEW_FILES);
    })
    .await
    else {
        return;
    };
    let receiver = Receiver::start().await;
    for number in 1..=12 {
        let (name, path) = (format!("hung-{number}"), format!("/hung/{number}"));
        receiver.always(&path, Reply::Hang);
        let more = json!({"timeout": "4m", "events": ["lead.*"]});
        world.endpoint(&endpoint_with(&name, &receiver.url(&path), &more)).await;
    }
    world.endpoint(&endpoint("well", &receiver.url("/well"))).await;
    let lead = |id: u32| json!({"type": "lead.created", "data": {"id": id}});
    let leads: Vec<Value> = (1..=100).map(lead).collect();
    world.post("/api/v1/events", &json!(leads)).await;
    for number in 1..=12 {
        receiver.first(&format!("/hung/{number}")).await;
    }
    // As many connections as the server must hold besides those that hang.
    let mut resting = Vec::new();
    for _ in 0..200 {
        resting.push(connect(&world).await);
    }
    for id in 1..=50 {
        world.event(&invoice(id)).await;
    }
    receiver.wait_for("/well", 50).await;
    others_are_served(&world).await;
    assert!(!world.server().output().contains("cannot accept"), "{}", world.server().output());
}
