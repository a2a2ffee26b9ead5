//! Traces and logs by OTLP: the tree of an event's spans, ids that outlive a node, a receiver that
//! does not answer, and what is never exported.
//!
//! What the server sends is decoded with OpenTelemetry's published definitions.

mod collector;
mod logs;

use crate::modules::order;
use crate::support::{endpoint_with, hex_mac, invoice};
use collector::{Collector, SeenSpan, with_exports};
use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{expect, guest, text};
use waybill_tests::{Arrival, Client, Receiver, Reply, Server, World};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";
/// The secret with which a source signs.
const SHOP: &str = "the-shop-s-own-secret";

fn parent_header() -> String {
    format!("00-{TRACE}-{SENDER}-01")
}

/// Captures an event whose request has these headers. Returns its id.
async fn capture(client: &Client, event: &Value, headers: &[(&str, &str)]) -> String {
    let call = Call::post("/api/v1/events", "application/json", event.to_string());
    let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
    let answer = client.send(call).await.unwrap();
    text(&expect(&answer, StatusCode::ACCEPTED, "/api/v1/events").data(), "id")
}

/// Returns the ids of trace and span in a delivery's `traceparent`.
fn sent_context(arrival: &Arrival) -> (String, String) {
    let header = arrival.header("traceparent");
    let parts: Vec<&str> = header.split('-').collect();
    assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "01"), "{header}");
    (parts[1].to_owned(), parts[2].to_owned())
}

/// Returns the trace of an event that brought none.
fn trace_of(event: &str) -> String {
    event.trim_start_matches("evt_").replace('-', "")
}

fn named<'s>(spans: &'s [SeenSpan], name: &str) -> Vec<&'s SeenSpan> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[rstest]
#[tokio::test]
async fn one_event_is_one_trace_over_capture_modules_and_attempts(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let Some(component) = guest("hostile") else { return };
    let Some(world) = World::start_with(backend, |settings| {
        with_exports(settings, &collector);
        settings.set("telemetry.trace_url", "https://jaeger.example/trace/{trace_id}");
    })
    .await
    else {
        return;
    };
    crate::modules::upload(&world, "hostile", component).await;
    receiver.script("/sink", [Reply::Status(500)]);
    let sink = json!({"events": [], "retry": {"schedule": ["10ms"]}});
    world.endpoint(&endpoint_with("sink", &receiver.url("/sink"), &sink)).await;
    let flow = json!({"name": "chain", "events": ["hostile.*"], "endpoints": ["sink"],
                      "modules": [{"name": "hostile"}, {"name": "hostile"}]});
    world.post("/api/v1/flows", &flow).await;
    let sent = [("traceparent", parent_header()), ("tracestate", "a=1,b=2".to_owned())];
    let sent = sent.each_ref().map(|(name, value)| (*name, value.as_str()));
    let event = capture(world.client(), &order(&json!({"do": "echo"})), &sent).await;
    let arrivals = receiver.wait_for("/sink", 2).await;
    let spans = collector.spans_when(|spans| spans.len() == 6).await;
    assert!(spans.iter().all(|span| span.trace == TRACE && span.service == "waybill"));
    let [captured] = *named(&spans, "capture") else { panic!("{spans:#?}") };
    assert_eq!((captured.parent.as_str(), captured.kind), (SENDER, 2));
    assert_eq!(captured.attribute("cloudevents.event_id"), event);
    let [plan] = *named(&spans, "plan") else { panic!("{spans:#?}") };
    assert_eq!((&plan.parent, plan.attribute("waybill.plan.result")), (&captured.id, "planned"));
    let modules = named(&spans, "module");
    assert!(modules.iter().all(|module| module.parent == plan.id && !module.is_failed));
    assert_ne!(modules[0].id, modules[1].id);
    let attempts = named(&spans, "attempt");
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt.attribute("waybill.attempt.outcome"), attempt.is_failed))
        .collect();
    assert_eq!(outcomes, [("retry", true), ("delivered", false)]);
    for (attempt, arrival) in attempts.iter().zip(&arrivals) {
        assert_eq!((&attempt.parent, attempt.kind), (&plan.id, 3));
        assert_eq!(sent_context(arrival), (TRACE.to_owned(), attempt.id.clone()));
        assert_eq!(arrival.header("tracestate"), "a=1,b=2");
    }
    assert_eq!(attempts[0].attribute("error.type"), "server_error");
    assert!(spans.iter().all(|span| span.began <= span.ended && span.began > 0));
    let shown = world.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(shown["trace_id"], TRACE);
    assert_eq!(shown["trace_url"], format!("https://jaeger.example/trace/{TRACE}"));
}

#[tokio::test]
async fn an_attempt_that_a_kill_cut_off_is_the_same_span_again() {
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let exports = |settings: &mut _| with_exports(settings, &collector);
    let Some(mut world) = World::start_with(Sqlite, exports).await else { return };
    receiver.script("/hook", [Reply::Hang]);
    world.endpoint(&endpoint_with("hook", &receiver.url("/hook"), &json!({}))).await;
    let event = world.event(&invoice(1)).await;
    receiver.first("/hook").await;
    let before = collector.spans_when(|spans| !spans.is_empty()).await;
    world.restart();
    let arrivals = receiver.wait_for("/hook", 2).await;
    let spans = collector.spans_when(|spans| !named(spans, "attempt").is_empty()).await;
    let attempt = named(&spans, "attempt")[0];
    assert_eq!(attempt.parent, named(&before, "capture")[0].id);
    let context = (trace_of(&event), attempt.id.clone());
    assert_eq!(
        [sent_context(&arrivals[0]), sent_context(&arrivals[1])],
        [context.clone(), context]
    );
    assert_eq!(world.get(&format!("/api/v1/events/{event}")).await["trace_id"], trace_of(&event));
}

#[tokio::test]
async fn spans_of_two_nodes_belong_to_one_trace() {
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let Some(mut world) = World::start_with(Postgres, |settings| {
        with_exports(settings, &collector);
        settings.environment("WAYBILL_SECRET_KEY", "one-key-of-all-nodes-0123456789");
    })
    .await
    else {
        return;
    };
    receiver.script("/hook", [Reply::Status(500), Reply::Status(500)]);
    let short = json!({"retry": {"schedule": ["10ms"]}});
    world.endpoint(&endpoint_with("hook", &receiver.url("/hook"), &short)).await;
    let event = world.event(&invoice(1)).await;
    let dead = world.eventually("/api/v1/dead-letters", |found| found[0]["id"].is_string()).await;
    collector.spans_when(|spans| spans.len() == 3).await;
    let folder = tempfile::tempdir().unwrap();
    let mut beside = world.settings().clone();
    beside.set("server.data_dir", folder.path().to_str().unwrap());
    let second = Server::start(&beside).unwrap();
    world.kill9();
    let client = Client::new(second.address(), Some(waybill_tests::server::ADMIN_TOKEN));
    let path = format!("/api/v1/dead-letters/{}/replay", text(&dead[0], "id"));
    assert!(client.post(&path, &json!({})).await.unwrap().status.is_success());
    receiver.wait_for("/hook", 3).await;
    let spans = collector.spans_when(|spans| spans.len() == 4).await;
    assert!(spans.iter().all(|span| span.trace == trace_of(&event)), "{spans:#?}");
    let captured = named(&spans, "capture")[0];
    let attempts = named(&spans, "attempt");
    assert!(attempts.iter().all(|attempt| attempt.parent == captured.id), "{spans:#?}");
    assert_eq!(attempts[0].instance, captured.instance);
    assert_ne!(attempts[2].instance, captured.instance);
}

/// The receiver of spans never answers here, so whatever waited for it would never end.
#[tokio::test]
async fn a_receiver_that_hangs_delays_nothing_and_drops_are_counted() {
    const EVENTS: u32 = 300;
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    collector.receiver.always("/v1/traces", Reply::Hang);
    let Some(mut world) = World::start_with(Sqlite, |settings| {
        with_exports(settings, &collector);
        settings.set("telemetry.max_queue", "64");
    })
    .await
    else {
        return;
    };
    world.endpoint(&endpoint_with("hook", &receiver.url("/hook"), &json!({}))).await;
    let events: Vec<Value> = (0..EVENTS).map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
    receiver.wait_for("/hook", EVENTS as usize).await;
    let metrics = world.client().get("/metrics").await.unwrap().text();
    let series = "waybill_telemetry_dropped_total{signal=\"spans\"} ";
    let dropped = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    // Of the captures alone, 64 wait and a batch of 32 is under way.
    assert!(dropped.parse::<u32>().unwrap() >= EVENTS - 96, "{dropped}");
    world.stop();
}

#[tokio::test]
async fn without_exports_a_context_is_passed_on_and_none_is_made() {
    let receiver = Receiver::start().await;
    let Some(world) = World::start(Sqlite).await else { return };
    for (name, envelope) in [("plain", "default"), ("cloud", "cloudevents")] {
        let more = json!({"envelope": envelope});
        let url = receiver.url(&format!("/{name}"));
        world.endpoint(&endpoint_with(name, &url, &more)).await;
    }
    let sent = parent_header();
    let headers = [("traceparent", sent.as_str()), ("tracestate", "a=1")];
    let event = capture(world.client(), &invoice(1), &headers).await;
    let arrival = receiver.first("/plain").await;
    assert_eq!((arrival.header("traceparent"), arrival.header("tracestate")), (&*sent, "a=1"));
    assert_eq!(receiver.first("/cloud").await.json()["traceparent"], sent);
    assert_eq!(world.get(&format!("/api/v1/events/{event}")).await["trace_id"], TRACE);
    let event = capture(world.client(), &invoice(2), &[]).await;
    assert_eq!(receiver.wait_for("/plain", 2).await[1].header("traceparent"), "");
    assert!(world.get(&format!("/api/v1/events/{event}")).await["trace_id"].is_null());
    // The extension of a CloudEvent goes before the header of its request.
    let own = format!("00-{}-{SENDER}-00", TRACE.replace('0', "1"));
    let cloud = json!({"specversion": "1.0", "id": "1", "source": "/crm", "type": "invoice.paid",
                       "traceparent": own, "data": {"id": 3}});
    capture(world.client(), &cloud, &headers).await;
    assert_eq!(receiver.wait_for("/plain", 3).await[2].header("traceparent"), own);
    // One that is not valid is no reason to refuse an event.
    capture(world.client(), &invoice(4), &[("traceparent", "00-nonsense")]).await;
    assert_eq!(receiver.wait_for("/plain", 4).await[3].header("traceparent"), "");
}

#[tokio::test]
async fn a_webhook_brings_its_context() {
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let exports = |settings: &mut _| with_exports(settings, &collector);
    let Some(world) = World::start_with(Sqlite, exports).await else { return };
    world.endpoint(&endpoint_with("all", &receiver.url("/all"), &json!({"events": ["*"]}))).await;
    let source = json!({"name": "shop", "kind": "webhook", "secret": SHOP,
                        "webhook": {"scheme": "perfexapi"}});
    world.post("/api/v1/sources", &source).await;
    let body = json!({"event": "invoice.paid", "payload": {"id": 1}}).to_string();
    let signature = hex_mac(SHOP, body.as_bytes());
    let call = Call::post("/in/shop", "application/json", body)
        .header("x-webhook-signature", &signature)
        .header("traceparent", &parent_header());
    let answer = world.client_with(None).send(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let spans = collector.spans_when(|spans| spans.len() == 2).await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!(sent_context(&receiver.first("/all").await).0, TRACE);
}
