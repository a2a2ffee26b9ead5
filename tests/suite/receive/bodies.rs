//! Bodies and handshakes in the form of real senders.

use super::{SECRET, call, event, hex, now, send, signed, source};
use crate::support::{assert_problem, hmac, texts};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::Write as _;
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::{Answer, World};

const FORM: &str = "application/x-www-form-urlencoded";
const BODY: &str = r#"{"event":"order.made","data":{"id":"1"}}"#;
/// [`BODY`] as `brotliCompressSync` of Node.js compresses it.
const BROTLI: &str =
    "8b13807b226576656e74223a226f726465722e6d616465222c2264617461223a7b226964223a2231227d7d03";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Returns a request with a body of this encoding, signed over `signed_bytes`.
fn encoded(name: &str, coding: &str, body: Vec<u8>, signed_bytes: &[u8]) -> Call {
    Call::post(&format!("/in/{name}"), "application/json", body)
        .header("content-encoding", coding)
        .header("x-webhook-signature", &hex(&[signed_bytes]))
}

#[tokio::test]
async fn compressed_bodies_are_read_within_the_bound() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.set("server.max_body", "2048");
    })
    .await
    else {
        return;
    };
    let setting = json!({"repeats": "none"});
    source(&world, "crm", "perfexapi", &setting).await;
    for (coding, body) in [
        ("gzip", gzip(BODY.as_bytes())),
        ("deflate", zlib(BODY.as_bytes())),
        ("br", hex::decode(BROTLI).unwrap()),
    ] {
        // Some senders sign the compressed body, others the original.
        for signed_bytes in [body.clone(), BODY.as_bytes().to_vec()] {
            let answer = send(&world, encoded("crm", coding, body.clone(), &signed_bytes)).await;
            assert_eq!(event(&world, &answer).await["data"], json!({"id": "1"}), "{coding}");
        }
    }
    let pushed =
        Call::post("/api/v1/events", "application/json", gzip(br#"{"type":"a.b","data":1}"#));
    let answer = world.client().send(pushed.header("content-encoding", "gzip")).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());

    let bomb = gzip(&vec![b' '; 1_000_000]);
    assert!(bomb.len() < 2_048);
    let answer = send(&world, encoded("crm", "gzip", bomb.clone(), &bomb)).await;
    assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE, "2048 bytes");
    let unknown = encoded("crm", "zstd", BODY.as_bytes().to_vec(), BODY.as_bytes());
    let answer = send(&world, unknown).await;
    assert_problem(&answer, StatusCode::UNSUPPORTED_MEDIA_TYPE, "`zstd`");
    assert_eq!(answer.header("accept-encoding"), "gzip, deflate, br");
    let broken = encoded("crm", "gzip", BODY.as_bytes().to_vec(), BODY.as_bytes());
    assert_problem(&send(&world, broken).await, StatusCode::BAD_REQUEST, "gzip");
}

#[tokio::test]
async fn a_byte_order_mark_is_left_out_and_signed() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "crm", "perfexapi", &json!({})).await;
    let body = format!("\u{feff}{BODY}");
    let answer = send(&world, call("crm", &body, &signed("perfexapi", &body, now()))).await;
    assert_eq!(event(&world, &answer).await["data"], json!({"id": "1"}));
    let pushed = "\u{feff}{\"type\":\"a.b\",\"data\":1}";
    let pushed = Call::post("/api/v1/events", "application/json", pushed);
    assert_eq!(world.client().send(pushed).await.unwrap().status, StatusCode::ACCEPTED);
}

fn form(name: &str, body: &str, headers: &[(&'static str, String)]) -> Call {
    let call = Call::post(&format!("/in/{name}"), FORM, body.to_owned());
    headers.iter().fold(call, |call, (name, value)| call.header(name, value))
}

#[tokio::test]
async fn forms_of_github_and_slack_become_events() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "github", "github", &json!({})).await;
    let body = "payload=%7B%22action%22%3A%22opened%22%2C%22issue%22%3A%7B%22id%22%3A1.50%7D%7D";
    let mut headers = signed("github", body, now());
    headers.push(("x-github-event", "issues".to_owned()));
    let opened = event(&world, &send(&world, form("github", body, &headers)).await).await;
    assert_eq!(opened["type"], "github.issues.opened");
    assert_eq!(opened["data"], json!({"action": "opened", "issue": {"id": 1.50}}));

    source(&world, "slack", "slack", &json!({})).await;
    let command = "command=%2Fweather&text=94070&trigger_id=1";
    let pressed = "payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%222%22%7D";
    for body in [command, pressed] {
        let answer = send(&world, form("slack", body, &signed("slack", body, now()))).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, String::new()));
    }
    let events = world.get("/api/v1/events?source=slack").await;
    assert_eq!(texts(&events, "type"), ["slack.block_actions", "slack.command.weather"]);
    let unsigned = send(&world, form("slack", command, &[])).await;
    assert_eq!(unsigned.status, StatusCode::UNAUTHORIZED);
}

/// Every element of an array is an event, or none is.
#[tokio::test]
async fn all_events_of_one_request_are_captured() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        // In the operators' form from the time when only the first was read.
        let places = json!({"event": "/0/subscriptionType", "data": "/0", "id": "/0/eventId"});
        source(&world, "hub", "none", &json!({"places": places})).await;
        let body = r#"[{"eventId":1,"subscriptionType":"contact.creation","objectId":123},
            {"eventId":2,"subscriptionType":"contact.propertyChange","objectId":124}]"#;
        let answer = send(&world, call("hub", body, &[])).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        assert_eq!(answer.data().as_array().unwrap().len(), 2);
        let again = send(&world, call("hub", body, &[])).await;
        assert_eq!(texts(&again.data(), "id"), texts(&answer.data(), "id"));
        let events = world.get("/api/v1/events?source=hub").await;
        let mut types = texts(&events, "type");
        types.sort();
        assert_eq!(types, ["contact.creation", "contact.propertyChange"]);

        let half = r#"[{"eventId":3,"subscriptionType":"contact.creation"},{"eventId":4}]"#;
        let answer = send(&world, call("hub", half, &[])).await;
        assert_eq!(crate::support::problem(&answer, 422)[0].0, "[1]");
        assert_eq!(world.get("/api/v1/events?source=hub").await.as_array().unwrap().len(), 2);
    }
}

/// The secret in the body is searched in all forms of a body.
#[tokio::test]
async fn a_token_is_found_in_forms_and_in_each_element_of_an_array() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "x", "token", &json!({"token": {"body": "/token"}})).await;
    let secret = SECRET;
    let one = |token: &str| json!({"token": token, "event": "a.b", "payload": {"id": "1"}});
    for (call, status) in [
        (form("x", &format!("event=a.b&token={secret}"), &[]), 202),
        (form("x", "event=a.b&token=x", &[]), 401),
        (call("x", &json!([one(secret), one(secret)]).to_string(), &[]), 202),
        (call("x", &json!([one(secret), one("x")]).to_string(), &[]), 401),
        (call("x", "[]", &[]), 401),
    ] {
        let answer = send(&world, call).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let stored = world.client().get("/api/v1/events?source=x").await.unwrap().text();
    assert!(!stored.contains(secret), "{stored}");
}

/// A compressed kilobyte can hold half a million fields; each event of a list gets the headers.
#[tokio::test]
async fn what_would_grow_beyond_its_body_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "any", "none", &json!({})).await;
    let answer = send(&world, form("any", &"a&".repeat(2_000), &[])).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "more than 1000 fields");
    let many = json!(vec![json!({"event": "a.b"}); 1_000]).to_string();
    let answer = send(&world, call("any", &many, &[("x-perfex-a", "y".repeat(10_000))])).await;
    assert_eq!(crate::support::problem(&answer, 422)[0].0, "");
    let answer = send(&world, call("any", &many, &[("x-perfex-a", "y".repeat(100))])).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
}

/// Numbers beyond those of a computer keep their notation, wherever they are.
#[tokio::test]
async fn no_number_is_refused_or_loses_a_digit() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "any", "none", &json!({})).await;
    let body = r#"{"event":"a.b","n":1e400,"m":12345678901234567890123,"payload":{"o":1e400}}"#;
    let answer = send(&world, call("any", body, &[("x-waybill-hops", "1".to_owned())])).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let path = format!("/api/v1/events/{}", answer.data()["id"].as_str().unwrap());
    let stored = world.client().get(&path).await.unwrap().text();
    for kept in [r#""n":1e400"#, r#""m":12345678901234567890123"#, r#""o":1e400"#] {
        assert!(stored.contains(kept), "{kept}: {stored}");
    }
    let cloud = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":1e400}"#;
    let call = Call::post("/api/v1/events", "application/cloudevents+json", cloud);
    let answer = world.client().send(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
}

#[tokio::test]
async fn the_name_in_a_header_may_have_any_script() {
    let Some(world) = World::start(Sqlite).await else { return };
    let places = json!({"places": {"event": "header:X-Event"}, "rename": {"Rechnung.gelöscht": "invoice.deleted"}});
    source(&world, "any", "none", &places).await;
    let answer =
        send(&world, call("any", "{}", &[("x-event", "Rechnung.gelöscht".to_owned())])).await;
    assert_eq!(event(&world, &answer).await["type"], "invoice.deleted");
}

#[tokio::test]
async fn a_request_holds_at_most_so_many_events() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.set("server.max_batch", "3");
    })
    .await
    else {
        return;
    };
    source(&world, "any", "none", &json!({})).await;
    let of = |n: usize| json!(vec![json!({"event": "a.b", "data": {}}); n]).to_string();
    let answer = send(&world, call("any", &of(4), &[])).await;
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "more than 3 events");
    assert_eq!(send(&world, call("any", &of(3), &[])).await.status, StatusCode::ACCEPTED);
    let none = send(&world, call("any", "[]", &[])).await;
    assert_eq!((none.status, none.data()), (StatusCode::ACCEPTED, json!([])));
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_address_is_the_same_address() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "crm", "perfexapi", &json!({})).await;
    let call = Call::post("/in/crm/", "application/json", BODY)
        .header("x-webhook-signature", &hex(&[BODY.as_bytes()]));
    event(&world, &send(&world, call).await).await;
    let nobody = Call::post("/in/nobody/", "application/json", BODY);
    assert_problem(&send(&world, nobody).await, StatusCode::NOT_FOUND, "no webhook source");
}

/// Sends a handshake to a source's address.
async fn ask(world: &World, method: Method, path: &str, header: Option<(&str, &str)>) -> Answer {
    let call = Call::new(method, path);
    let call = header.into_iter().fold(call, |call, (name, value)| call.header(name, value));
    send(world, call).await
}

#[tokio::test]
async fn what_a_sender_asks_first_is_answered() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        // Answers to browsers must not replace answers to senders.
        settings.set("server.cors_origins", r#"["https://app.example"]"#);
    })
    .await
    else {
        return;
    };
    source(&world, "crm", "meta", &json!({})).await;
    let ok = StatusCode::OK;
    let meta = "/in/crm?hub.mode=subscribe&hub.verify_token=T&hub.challenge=123";
    let answer = ask(&world, Method::GET, meta, None).await;
    assert_eq!((answer.status, answer.text()), (ok, "123".to_owned()));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let okta = Some(("x-okta-verification-challenge", "abc"));
    let answer = ask(&world, Method::GET, "/in/crm", okta).await;
    assert_eq!((answer.status, answer.json()), (ok, json!({"verification": "abc"})));
    assert_eq!(ask(&world, Method::HEAD, "/in/crm/", None).await.status, ok);
    for path in ["/in/crm", "/in/crm/"] {
        let origin = Some(("webhook-request-origin", "eventemitter.example.com"));
        let answer = ask(&world, Method::OPTIONS, path, origin).await;
        assert_eq!(answer.status, ok);
        assert_eq!(answer.header("webhook-allowed-origin"), "eventemitter.example.com");
        assert_eq!(answer.header("webhook-allowed-rate"), "*");
        assert!(answer.header("allow").contains("POST"));
    }
    let graph = Call::new(Method::POST, "/in/crm?validationToken=a%20b");
    let answer = send(&world, graph).await;
    assert_eq!((answer.status, answer.text()), (ok, "a b".to_owned()));

    for (method, path) in [
        (Method::GET, "/in/nobody?hub.mode=subscribe&hub.challenge=1"),
        (Method::HEAD, "/in/nobody"),
        (Method::OPTIONS, "/in/nobody"),
    ] {
        assert_eq!(ask(&world, method, path, None).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let plain = ask(&world, Method::GET, "/in/crm", None).await;
    assert_problem(&plain, StatusCode::METHOD_NOT_ALLOWED, "GET");
    assert!(plain.header("allow").contains("POST"));
    assert_eq!(world.get("/api/v1/events").await, json!([]));
}

/// WooCommerce checks without a signature, and accepts the address only with the answer 200.
#[tokio::test]
async fn woocommerce_s_ping_is_answered_and_its_orders_are_captured() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "woo", "woocommerce", &json!({})).await;
    let ping = send(&world, form("woo", "webhook_id=12", &[])).await;
    assert_eq!(ping.status, StatusCode::OK);
    let body = r#"{"id":7}"#;
    let tag = BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), &[body.as_bytes()]));
    let headers = [
        ("x-wc-webhook-signature", tag),
        ("x-wc-webhook-topic", "order.updated".to_owned()),
        ("x-wc-webhook-source", "https://shop.example/".to_owned()),
    ];
    let order = event(&world, &send(&world, call("woo", body, &headers)).await).await;
    assert_eq!(order["type"], "woocommerce.order.updated");
    assert_eq!(
        (&order["resource"], &order["resource_id"]),
        (&json!("woocommerce.order"), &json!("7"))
    );
    let source: &Value = &order["attributes"]["webhooksource"];
    assert_eq!(source, "https://shop.example/");
    assert_eq!(world.get("/api/v1/events").await.as_array().unwrap().len(), 1);
}
