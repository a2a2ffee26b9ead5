//! Common helpers of several suites: events, and the verification of signatures and problem
//! documents, written from the specifications and not from the program.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::StatusCode;
use rand::RngExt as _;
use serde_json::{Value, json};
use sha2::Sha256;
use std::process::Command;
pub(crate) use waybill_tests::world::with_manifest;
use waybill_tests::{Answer, Arrival, Client, Settings, World};

/// Returns an event about one invoice.
pub(crate) fn invoice(id: u32) -> Value {
    json!({"type": "invoice.paid", "resource_id": id.to_string(), "data": {"id": id, "total": "1545.81"}})
}

/// Returns an endpoint with this name and URL that receives invoices, with a schedule short enough
/// to see its end.
pub(crate) fn endpoint(name: &str, url: &str) -> Value {
    json!({
        "name": name, "url": url, "events": ["invoice.*"],
        "retry": {"schedule": ["50ms", "50ms", "50ms"]},
    })
}

/// Returns the same endpoint with more fields.
pub(crate) fn endpoint_with(name: &str, url: &str, more: &Value) -> Value {
    merged(endpoint(name, url), more)
}

/// Returns a retry schedule that is short at first, and long enough for RabbitMQ to stop and start
/// on a busy machine.
pub(crate) fn patient_schedule() -> Vec<&'static str> {
    [vec!["100ms"; 10], vec!["2s"; 40]].concat()
}

/// Returns the first object, overridden by the fields of the second.
pub(crate) fn merged(mut object: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        object[key] = value.clone();
    }
    object
}

/// Creates a source with these settings and waits for the end of its first run. Returns its `run`.
pub(crate) async fn first_run(world: &World, settings: &Value) -> Value {
    world.post("/api/v1/sources", settings).await;
    let path = format!("/api/v1/sources/{}", settings["name"].as_str().unwrap());
    let done = |found: &Value| {
        found["run"]["finished_at"].is_string() && found["run"]["running"] != json!(true)
    };
    world.eventually(&path, done).await["run"].clone()
}

/// Returns the short name of an event or a delivery: `type#resource_id`.
pub(crate) fn name(event: &Value) -> String {
    let event_type = event["type"].as_str().or(event["event"].as_str()).unwrap_or_default();
    format!("{event_type}#{}", event["resource_id"].as_str().unwrap_or_default())
}

/// Returns a seed for the moments of kills. `WAYBILL_CRASH_SEED` repeats a run.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("WAYBILL_CRASH_SEED").ok();
    given.map_or_else(|| rand::rng().random(), |seed| seed.parse().unwrap())
}

/// Prints interesting facts about a run that passed, and how to repeat one that failed.
#[expect(clippy::print_stderr, reason = "a test has nothing else to say it with")]
pub(crate) fn announce(text: &str) {
    eprintln!("{text}");
}

/// Checks that an answer is a problem document (RFC 9457) with this status. Returns its `errors`.
pub(crate) fn problem(answer: &Answer, status: u16) -> Vec<(String, String)> {
    let body = answer.json();
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("x-request-id").is_empty(), "every answer carries X-Request-Id");
    assert_eq!(body["status"], status);
    for key in ["type", "title", "detail"] {
        assert!(body[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {body:#}");
    }
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let text = |error: &Value, key: &str| error[key].as_str().unwrap().to_owned();
    errors.iter().map(|error| (text(error, "path"), text(error, "message"))).collect()
}

/// Computes HMAC-SHA256.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Returns the `v1` signature of Standard Webhooks 1.0 that a delivery must have for this secret.
pub(crate) fn standard_signature(arrival: &Arrival, secret: &str) -> String {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, time) = (arrival.header("webhook-id"), arrival.header("webhook-timestamp"));
    let tag = hmac(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", &arrival.body]);
    format!("v1,{}", BASE64_STANDARD.encode(tag))
}

/// Returns the lower-case hex HMAC of the raw body with the literal secret.
pub(crate) fn hex_mac(secret: &str, message: &[u8]) -> String {
    hex::encode(hmac(secret.as_bytes(), &[message]))
}

/// Returns the signature of a delivery's body in hex, as in `X-Webhook-Signature`.
pub(crate) fn hex_signature(arrival: &Arrival, secret: &str) -> String {
    hex::encode(hmac(secret.as_bytes(), &[&arrival.body]))
}

/// Returns whether the default signatures of a delivery fit this secret.
pub(crate) fn verified(arrival: &Arrival, secret: &str) -> bool {
    let standard = standard_signature(arrival, secret);
    let hex = hex_signature(arrival, secret);
    arrival.header("webhook-signature").split(' ').any(|one| one == standard)
        && arrival.header("x-webhook-signature") == hex
        && arrival.header("x-perfexapi-signature") == hex
}

/// Returns the texts at a key of each element of a list.
pub(crate) fn texts(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().unwrap();
    items.iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

/// Creates a token with these settings.
pub(crate) async fn token(world: &World, settings: &Value) -> String {
    let made = world.client().post("/api/v1/tokens", settings).await.unwrap();
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    made.data()["token"].as_str().unwrap().to_owned()
}

/// Returns a caller with a token of these settings.
pub(crate) async fn caller(world: &World, settings: &Value) -> Client {
    world.client_with(Some(&token(world, settings).await))
}

/// Checks that an answer is a problem with this status whose detail contains these words.
pub(crate) fn assert_problem(answer: &Answer, status: StatusCode, detail: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["status"], status.as_u16());
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
}

/// Changes the key of the database that a server with these settings would use. Returns the
/// command's output, as an error if it fails.
pub(crate) fn rotate_key(settings: &Settings) -> Result<String, String> {
    let output = Command::new(&settings.binary)
        .args(["key", "rotate", "--database", &settings.database])
        .current_dir(&settings.folder)
        .envs(settings.environment.iter().cloned())
        .output()
        .unwrap();
    let [out, error] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.success() { Ok(out) } else { Err(out + &error) }
}
