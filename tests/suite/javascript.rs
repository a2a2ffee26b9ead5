//! The view of a receiver in JavaScript: parsing a body and serialising it again gives the same
//! bytes, so that a signature over the serialised body fits too.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::rest::Call;
use waybill_tests::world::skip;
use waybill_tests::{Receiver, World};

use crate::support::{endpoint, endpoint_with};

/// Reads base64 lines and writes each body as JavaScript serialises it after parsing, in base64.
const ROUND_TRIP: &str = r"
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
for (const line of lines) {
    const body = Buffer.from(line, 'base64').toString('utf8');
    console.log(Buffer.from(JSON.stringify(JSON.parse(body)), 'utf8').toString('base64'));
}";

/// Returns each body after a round trip through Node, or `None` without Node.
fn round_trip(bodies: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let node = Command::new("node")
        .args(["-e", ROUND_TRIP])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut node) = node else {
        skip("node is not installed");
        return None;
    };
    let lines: String = bodies.iter().map(|body| BASE64_STANDARD.encode(body) + "\n").collect();
    node.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| BASE64_STANDARD.decode(line).unwrap()).collect())
}

fn assert_stable(bodies: &[Vec<u8>]) {
    let Some(again) = round_trip(bodies) else { return };
    assert_eq!(again.len(), bodies.len());
    for (sent, again) in bodies.iter().zip(&again) {
        let (sent, again) = (String::from_utf8_lossy(sent), String::from_utf8_lossy(again));
        assert_eq!(sent, again, "JavaScript writes it differently");
    }
}

/// Captures raw JSON documents as data and returns the delivered bodies in all JSON envelopes.
async fn delivered(events: Vec<String>) -> Option<Vec<Vec<u8>>> {
    let world = World::start(Sqlite).await?;
    let receiver = Receiver::start().await;
    let envelopes = ["default", "standard", "cloudevents", "cloudevents-binary"];
    for envelope in envelopes {
        let more = json!({"envelope": envelope, "events": ["*"]});
        world.endpoint(&endpoint_with(envelope, &receiver.url("/a"), &more)).await;
    }
    let count = events.len() * envelopes.len();
    for event in events {
        let call = Call::post("/api/v1/events", "application/json", event.clone());
        let answer = world.client().send(call).await.unwrap();
        assert_eq!(answer.status, 202, "{event}: {}", answer.text());
    }
    let arrivals = receiver.wait_for("/a", count).await;
    Some(arrivals.iter().map(|one| one.body.to_vec()).collect())
}

#[tokio::test]
async fn awkward_data_survives_a_round_trip() {
    let awkward = [
        r#"{"n":9007199254740991,"m":9007199254740993,"big":123456789012345678901234567890}"#,
        r#"{"a":1.0,"b":100.00,"c":1e3,"d":-0,"e":-0.0,"f":1E-7,"g":1e21,"h":1e400,"i":0.1}"#,
        r#"{"b":1,"10":2,"9":3,"a":4,"01":5,"4294967295":6,"4294967294":7,"-1":8}"#,
        r#"{"a":"\/ \u00e9 \ud83d\ude00 \u2028 \u0000 \u001f \"\\\b\f\n\r\t","e":"é😀"}"#,
        r#"{ "spaced" : [ 1 , 2 , { "x" : null } ] , "empty" : { } , "none" : [ ] }"#,
        r#"{"total":"100.00","quantity":3.50,"rate":0.000001,"tiny":1e-10,"neg":-12.50}"#,
        r#"{"a":1,"b":{"2":"x","1":"y","__proto__":1,"constructor":2,"toString":3}}"#,
        r#"[1.10, "x", true, null, [[]], -1, 18446744073709551615, -9223372036854775808]"#,
        r#""only a text""#,
        "null",
        "-5e-324",
    ];
    let events = awkward.iter().map(|data| format!(r#"{{"type":"invoice.paid","data":{data}}}"#));
    let Some(bodies) = delivered(events.collect()).await else { return };
    assert_stable(&bodies);
}

#[tokio::test]
async fn every_catalogue_example_survives_a_round_trip() {
    let Some(world) = World::start(Sqlite).await else { return };
    let types = world.get("/api/v1/event-types").await;
    let names = crate::support::texts(&types, "name");
    assert!(names.len() > 50, "the catalogue has {} event types", names.len());
    let mut events = Vec::new();
    for name in &names {
        let known = world.get(&format!("/api/v1/event-types/{name}")).await;
        assert_ne!(known["example"], Value::Null, "{name} has an example");
        events.push(json!({"type": name, "data": known["example"]}).to_string());
    }
    let Some(bodies) = delivered(events).await else { return };
    assert_stable(&bodies);
}

#[tokio::test]
async fn a_number_that_javascript_cannot_hold_is_a_text() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint("a", &receiver.url("/a"))).await;
    let body = r#"{"type":"invoice.paid","data":{"b":9007199254740993,"7":1.0,"a":100.00}}"#;
    let call = Call::post("/api/v1/events", "application/json", body);
    assert_eq!(world.client().send(call).await.unwrap().status, 202);
    let body = String::from_utf8(receiver.first("/a").await.body.to_vec()).unwrap();
    let wanted = r#""payload":{"7":1,"b":"9007199254740993","a":100}"#;
    assert!(body.contains(wanted), "{body}");
}
