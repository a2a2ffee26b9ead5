//! The log as JSON, its access lines and its export, and that no secret is exported.

use super::collector::{Collector, LOGS, with_exports};
use crate::modules::{order, upload};
use crate::support::{endpoint_with, invoice};
use hyper::Method;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Receiver, Reply, World};

/// Part of everything that must not appear.
const MARK: &str = "m4rkedS3cret";

fn mark(what: &str) -> String {
    format!("{MARK}-{what}-0123456789")
}

#[tokio::test]
async fn requests_have_a_line_with_their_route_and_nothing_that_was_sent() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.set("log.format", "json").set("log.access", "true");
    })
    .await
    else {
        return;
    };
    let event = world.event(&invoice(1)).await;
    let query = format!("/api/v1/events/{event}?x={}", mark("query"));
    let answer = world.client().get(&query).await.unwrap();
    let id = answer.header("x-request-id").to_owned();
    let line = world.server().wait_for_line(&[&id]).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "waybill::access");
    assert_eq!([&line["method"], &line["route"]], ["GET", "/api/v1/events/{id}"]);
    assert_eq!(line["status"], answer.status.as_u16());
    assert!(line["principal"].as_str().unwrap().starts_with("tok_"), "{line:#}");
    assert!(line["duration_ms"].is_f64() && line["address"] == "127.0.0.1", "{line:#}");
    let unknown = Call::new(Method::GET, &format!("/{}", mark("path")));
    let answer = world.client_with(Some(&mark("token"))).send(unknown).await.unwrap();
    let id = answer.header("x-request-id").to_owned();
    let line = world.server().wait_for_line(&[&id]).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["route"], "(none)");
    assert!(line["principal"].is_null(), "{line:#}");
    assert!(!world.server().output().contains(MARK));
}

#[tokio::test]
async fn the_log_is_exported_with_the_trace_of_its_event() {
    let Some(component) = guest("hostile") else { return };
    let collector = Collector::start().await;
    let Some(mut world) = World::start_with(Sqlite, |settings| {
        with_exports(settings, &collector);
        settings.set("telemetry.logs", "true").set("log.access", "true");
    })
    .await
    else {
        return;
    };
    world.get("/api/v1/nodes").await;
    let first = collector.line_when(|line| line.body == "request").await;
    assert_eq!((first.severity, &*first.attributes["log.target"]), (9, "waybill::access"));
    upload(&world, "hostile", component).await;
    let never = json!({"events": [], "enabled": false});
    world.endpoint(&endpoint_with("sink", "http://127.0.0.1:9/", &never)).await;
    let flow = json!({"name": "chain", "events": ["hostile.*"], "endpoints": ["sink"],
                      "modules": vec![json!({"name": "hostile"}); 16]});
    world.post("/api/v1/flows", &flow).await;
    let event = world.event(&order(&json!({"do": "sleep", "millis": 700}))).await;
    let path = format!("/api/v1/events/{event}");
    for deaths in 1..=3 {
        let running = |found: &Value| {
            let waiting = &found["waiting"][0];
            waiting["running"] == true && waiting["failed_tries"] == deaths - 1
        };
        world.eventually(&path, running).await;
        world.restart();
    }
    let line = collector.line_when(|line| line.body.contains("the process died")).await;
    assert_eq!((line.severity, line.trace), (17, super::trace_of(&event)));
    assert_eq!(line.attributes["event"], event);
}

#[tokio::test]
async fn no_exported_byte_holds_a_secret() {
    let Some(component) = guest("hostile") else { return };
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let Some(mut world) = World::start_with(Sqlite, |settings| {
        with_exports(settings, &collector);
        settings.set("telemetry.logs", "true").set("log.access", "true");
        let header = format!("{{ authorization = \"Bearer {}\" }}", mark("export"));
        settings.set("telemetry.otlp_headers", &header);
    })
    .await
    else {
        return;
    };
    upload(&world, "hostile", component).await;
    let path = format!("/services/{}?key={}", mark("path"), mark("query"));
    receiver.script(&path, [Reply::with_header(500, "x-answer", &mark("answer"))]);
    let more = json!({"headers": {"x-key": mark("header")}, "events": ["*"],
                      "retry": {"schedule": ["10ms"]}});
    let made = world.endpoint(&endpoint_with("hook", &receiver.url(&path), &more)).await;
    let flow = json!({"name": "chain", "events": ["hostile.*"], "endpoints": ["hook"],
                      "modules": [{"name": "hostile", "config": {"key": mark("config")}}]});
    world.post("/api/v1/flows", &flow).await;
    let failing = json!({"do": "fail_permanent", "code": "told_to", "text": mark("failure")});
    world.event(&order(&failing)).await;
    let logged = json!({"type": "a.b", "id": mark("id"), "resource_id": mark("record"),
                        "data": {"secret": mark("payload")}});
    world.event(&logged).await;
    let wrong = world.client_with(Some(&mark("token")));
    let answer = wrong.get(&format!("/api/v1/events?x={MARK}")).await.unwrap();
    assert_eq!(answer.status, 401);
    receiver.wait_for(&path, 3).await;
    collector.spans_when(|spans| super::named(spans, "attempt").len() >= 3).await;
    collector.line_when(|line| line.attributes.get("status").is_some_and(|is| is == "401")).await;
    // The last ones come with the stop.
    world.stop();
    let sent = collector.receiver.arrivals(LOGS);
    assert_eq!(sent[0].header("authorization"), format!("Bearer {}", mark("export")));
    let everything = collector.everything();
    assert!(everything.contains("url.full") && everything.contains("waybill::access"));
    assert!(!everything.contains(MARK) && !everything.contains(&text(&made, "secret")));
}
