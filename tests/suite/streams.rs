//! Sources of the kinds `nats` and `amqp`: messages of the real servers become events, each once
//! and in order. The usual Python client of each server publishes them.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{LIMIT, text};
use waybill_tests::{Client, Server, Settings, World};

use crate::poll::events;
use crate::queues::Broker;
use crate::queues::Kind::{self, Amqp, Nats};
use crate::support::{merged, problem};

/// The name of the source.
const SOURCE: &str = "stream";
const PATH: &str = "/api/v1/sources/stream";

/// Returns settings of a source that takes messages from the place that `prepare` made.
fn source(broker: &Broker, more: &Value) -> Value {
    let kind = broker.kind();
    let own = match kind {
        Nats => json!({"url": broker.url(), "stream": "CRM", "subjects": ["crm.>"]}),
        Amqp | Kind::Mqtt | Kind::Kafka => {
            json!({"url": broker.url(), "queue": "crm", "user": "guest"})
        }
    };
    let own = merged(own, more);
    let source = json!({"name": SOURCE, "kind": kind.name(), kind.name(): own});
    if kind == Amqp { merged(source, &json!({"secret": "guest"})) } else { source }
}

async fn create(world: &World, broker: &Broker, more: &Value) {
    let made = world.post("/api/v1/sources", &source(broker, more)).await;
    assert_eq!(made["kind"], broker.kind().name(), "{made:#}");
    assert!(made.get("secret").is_none(), "{made:#}");
}

/// Returns a message about an invoice. Its id is that of the message, or of its position.
fn invoice(number: u32, id: Option<&str>) -> Value {
    let event =
        json!({"type": "invoice.paid", "resource_id": number.to_string(), "data": {"id": number}});
    json!({"id": id, "place": "crm.invoice", "body": event.to_string()})
}

fn invoices(numbers: Range<u32>) -> Vec<Value> {
    numbers.map(|number| invoice(number, Some(&format!("m{number}")))).collect()
}

async fn publish(broker: &Broker, messages: &[Value]) {
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    broker.run_with(&["publish"], &lines.join("\n")).await;
}

/// Waits until there are `count` events, and returns the numbers of the invoices in order.
async fn captured(world: &World, count: usize) -> Vec<u32> {
    let path = format!("/api/v1/events?limit=1&source={SOURCE}&resource_id={}", count - 1);
    world.eventually(&path, |found| *found != json!([])).await;
    let found = events(world, SOURCE).await;
    found.iter().map(|event| text(event, "resource_id").parse().unwrap()).collect()
}

fn all(count: u32) -> Vec<u32> {
    (0..count).collect()
}

/// Returns the number of messages that the broker still has for the source, which does not run.
async fn left(broker: &Broker) -> u32 {
    broker.run(&["left"]).await.trim().parse().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_become_events_in_order_and_are_acknowledged(#[values(Nats, Amqp)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    publish(&broker, &invoices(0..30)).await;
    create(&world, &broker, &json!({"max_unacknowledged": 7})).await;
    publish(&broker, &invoices(30..50)).await;
    assert_eq!(captured(&world, 50).await, all(50));
    let drained = |found: &Value| {
        let run = &found["run"];
        run["stream"]["waiting"] == 0 && run["rows"] == 50 && run["lag_ms"].is_u64()
    };
    let shown = world.eventually(PATH, drained).await;
    let run = &shown["run"];
    assert_eq!((&run["running"], &run["error"]), (&json!(true), &Value::Null), "{run:#}");
    let last = if kind == Nats { "50" } else { "m49" };
    assert_eq!(run["stream"]["last"], last, "{run:#}");
    world.stop();
    assert_eq!(left(&broker).await, 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_waybill_is_killed(
    #[values(Nats, Amqp)] kind: Kind,
    #[values(true, false)] has_ids: bool,
) {
    const EACH: u32 = 500;
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    create(&world, &broker, &json!({"max_unacknowledged": 50})).await;
    for round in 0..4 {
        let numbers = round * EACH..(round + 1) * EACH;
        let id = |number: u32| has_ids.then(|| format!("m{number}"));
        let messages: Vec<Value> =
            numbers.map(|number| invoice(number, id(number).as_deref())).collect();
        publish(&broker, &messages).await;
        world.kill9();
        world.restart();
    }
    assert_eq!(captured(&world, 2_000).await, all(2_000));
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_down_is_an_error_with_a_next_try(#[values(Nats, Amqp)] kind: Kind) {
    let Some(mut broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    create(&world, &broker, &json!({})).await;
    publish(&broker, &invoices(0..20)).await;
    assert_eq!(captured(&world, 20).await, all(20));
    broker.stop();
    let failed = world.eventually(PATH, |found| found["run"]["error"].is_string()).await;
    assert!(failed["run"]["next_at"].is_string(), "{failed:#}");
    broker.resume();
    publish(&broker, &invoices(20..40)).await;
    assert_eq!(captured(&world, 40).await, all(40));
    world.eventually(PATH, |found| found["run"]["error"].is_null()).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_no_event_is_set_aside(#[values(Nats, Amqp)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    let mut messages = invoices(0..2);
    let poison = |id: &str, body: &str| json!({"id": id, "place": "crm.poison", "body": body});
    let typeless = poison("p2", r#"{"type":"no type","data":1}"#);
    let large = poison("p3", &json!({"type": "a.b", "data": "x".repeat(200_000)}).to_string());
    let bad = [poison("p1", "this is not JSON"), typeless, large];
    drop(messages.splice(1..1, bad));
    publish(&broker, &messages).await;
    create(&world, &broker, &json!({"max_bytes": 1024})).await;
    assert_eq!(captured(&world, 2).await, all(2));
    let letters = world.get("/api/v1/dead-letters?kind=row&source=stream").await;
    let letters = letters.as_array().unwrap();
    let mut shown: Vec<(String, String)> =
        letters.iter().map(|letter| (text(letter, "row"), text(letter, "reason"))).collect();
    shown.sort();
    let rows = if kind == Nats { ["2", "3", "4"] } else { ["p1", "p2", "p3"] };
    let reasons = ["row_unreadable", "row_invalid", "row_invalid"];
    let expected: Vec<(String, String)> =
        rows.into_iter().zip(reasons).map(|(row, why)| (row.to_owned(), why.to_owned())).collect();
    assert_eq!(shown, expected, "{letters:#?}");
    let replay = format!("/api/v1/dead-letters/{}/replay", text(&letters[0], "id"));
    let refused = world.client().post(&replay, &json!({})).await.unwrap();
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text());
    world.eventually(PATH, |found| found["run"]["stream"]["waiting"] == 0).await;
    world.stop();
    assert_eq!(left(&broker).await, 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_published_twice_is_captured_once(#[values(Nats, Amqp)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let mut messages = invoices(0..2);
    if kind == Amqp {
        messages.insert(1, invoice(0, Some("m0")));
    }
    // A stream drops a repeated message by itself; only Waybill knows the event's own id.
    let event = json!({"type": "invoice.paid", "id": "e2", "resource_id": "2", "data": {}});
    for id in ["x1", "x2"] {
        messages.push(json!({"id": id, "place": "crm.invoice", "body": event.to_string()}));
    }
    messages.extend(invoices(3..4));
    publish(&broker, &messages).await;
    create(&world, &broker, &json!({})).await;
    assert_eq!(captured(&world, 4).await, all(4));
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_json_is_an_event_as_the_mapping_says(#[values(Nats, Amqp)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let body = json!({"kind": "paid", "number": 0, "order": {"total": "1.50"}}).to_string();
    publish(&broker, &[json!({"id": "m0", "place": "crm.shop", "body": body})]).await;
    let mapping = json!({
        "type": "order.{/kind}", "resource_id": "{/number}", "id": "{subject}-{/number}", "data": "/order",
    });
    create(&world, &broker, &json!({"event": mapping})).await;
    captured(&world, 1).await;
    let found = events(&world, SOURCE).await.remove(0);
    assert_eq!(
        (&found["type"], &found["external_id"]),
        (&json!("order.paid"), &json!("crm.shop-0"))
    );
    let whole = world.get(&format!("/api/v1/events/{}", text(&found, "id"))).await;
    assert_eq!(whole["data"], json!({"total": "1.50"}), "{whole:#}");
}

/// Returns another node's settings, with its own folder.
fn beside(world: &World, folder: &Path) -> Settings {
    let mut settings = world.settings().clone();
    settings.set("server.listen", "127.0.0.1:0").set("server.data_dir", folder.to_str().unwrap());
    settings
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_take_each_message_once_and_one_goes_on(#[values(Nats, Amqp)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let key = |settings: &mut Settings| {
        settings.environment("WAYBILL_SECRET_KEY", "one-key-of-all-nodes-0123456789");
    };
    let Some(mut world) = World::start_with(Postgres, key).await else { return };
    create(&world, &broker, &json!({"max_unacknowledged": 50})).await;
    publish(&broker, &invoices(0..300)).await;
    assert_eq!(captured(&world, 300).await, all(300));
    let folder = tempfile::tempdir().unwrap();
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    publish(&broker, &invoices(300..600)).await;
    // The first node has the source. The other one takes it over once the first is known to be
    // lost.
    world.kill9();
    publish(&broker, &invoices(600..900)).await;
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let path = format!("/api/v1/events?limit=1&source={SOURCE}&resource_id=899");
    let deadline = Instant::now() + LIMIT;
    while other.get(&path).await.unwrap().data() == json!([]) {
        assert!(Instant::now() < deadline, "the other node took nothing: {}", second.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(second);
    world.restart();
    assert_eq!(captured(&world, 900).await, all(900));
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_shows_a_message_and_leaves_it(#[values(Nats, Amqp)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let paused = merged(source(&broker, &json!({})), &json!({"enabled": false}));
    world.post("/api/v1/sources", &paused).await;
    publish(&broker, &invoices(0..1)).await;
    for _ in 0..2 {
        let shown = world.post(&format!("{PATH}/test"), &json!({})).await;
        assert_eq!((&shown["type"], &shown["resource_id"]), (&json!("invoice.paid"), &json!("0")));
    }
    assert_eq!(world.get("/api/v1/events").await, json!([]));
    world.post(&format!("{PATH}/resume"), &json!({})).await;
    assert_eq!(captured(&world, 1).await, all(1));
}

#[rstest]
#[tokio::test]
async fn no_connection_is_made_to_an_address_that_is_not_allowed(#[values(Nats, Amqp)] kind: Kind) {
    let closed = |settings: &mut Settings| {
        settings.set("delivery.allow_networks", "[]");
    };
    let Some(world) = World::start_with(Sqlite, closed).await else { return };
    // A connection would be noticed here.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{}://{}", kind.name(), listener.local_addr().unwrap());
    let own = match kind {
        Nats => json!({"url": url, "stream": "CRM"}),
        Amqp | Kind::Mqtt | Kind::Kafka => json!({"url": url, "queue": "crm", "user": "guest"}),
    };
    let source = json!({"name": SOURCE, "kind": kind.name(), kind.name(): own, "secret": "s3cret"});
    world.post("/api/v1/sources", &source).await;
    let failed = world.eventually(PATH, |found| found["run"]["error"].is_string()).await;
    assert!(!failed.to_string().contains("s3cret"), "{failed:#}");
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap_err();
}

#[rstest]
#[case(json!({"kind": "nats"}), "nats")]
#[case(json!({"kind": "nats", "nats": {"url": "http://h", "stream": "S"}}), "nats.url")]
#[case(json!({"kind": "nats", "nats": {"url": "nats://h", "stream": "S", "event": {"type": "x"}}}), "nats.event.type")]
#[case(json!({"kind": "amqp", "amqp": {"url": "amqp://u:p@h", "queue": "q", "user": "u"}}), "amqp.url")]
#[case(json!({"kind": "http", "amqp": {"url": "amqp://h", "queue": "q", "user": "u"}}), "amqp")]
#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_their_place(
    #[case] settings: Value,
    #[case] place: &str,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let source = merged(settings, &json!({"name": SOURCE}));
    let refused = world.client().post("/api/v1/sources", &source).await.unwrap();
    let errors = problem(&refused, 422);
    assert!(errors.iter().any(|(path, _)| path == place), "{errors:?}");
}
