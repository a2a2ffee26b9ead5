//! The cost of one event: its modules multiply neither events nor deliveries without bound, and an
//! event under which the process dies repeatedly is set aside.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Database, Receiver, Reply, World};

use crate::support::{endpoint_with, merged};

const DEAD: &str = "/api/v1/dead-letters";

/// Starts a world with the module `hostile` and the endpoints `sink` and `other`, which have no
/// subscriptions.
pub(crate) async fn world_with_hostile(backend: Backend) -> Option<(World, Receiver)> {
    let component = guest("hostile")?;
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    let upload = Call::post("/api/v1/modules/hostile?activate=true", "application/wasm", component);
    assert_eq!(world.client().send(upload).await.unwrap().status, 201);
    for name in ["sink", "other"] {
        let url = receiver.url(&format!("/{name}"));
        world.endpoint(&endpoint_with(name, &url, &json!({"events": []}))).await;
    }
    Some((world, receiver))
}

/// Creates a flow for `hostile.*` with the module this many times.
pub(crate) async fn chain(world: &World, modules: usize, more: &Value) {
    let modules = vec![json!({"name": "hostile"}); modules];
    let flow = json!({"name": "chain", "events": ["hostile.*"], "modules": modules,
                      "endpoints": ["sink", "other"]});
    world.post("/api/v1/flows", &merged(flow, more)).await;
}

fn order(order: &Value) -> Value {
    json!({"type": "hostile.order", "data": order})
}

/// Returns the largest memory that the server ever had, in bytes.
fn peak_memory(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.server().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[rstest]
#[case::events(json!({"do": "split", "count": 100}), "events between two modules")]
#[case::bytes(json!({"do": "split", "count": 100, "text": "x".repeat(19_000)}), "bytes")]
#[case::deliveries(
    json!({"do": "split", "count": 50, "to": vec!["sink"; 50]}),
    "deliveries"
)]
#[tokio::test]
async fn what_modules_make_of_one_event_is_bounded(#[case] bad: Value, #[case] what: &str) {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    let modules = if what == "deliveries" { 1 } else { 16 };
    chain(&world, modules, &json!({})).await;
    let event = world.event(&order(&bad)).await;
    let dead = world.eventually(DEAD, |found| found[0]["id"].is_string()).await;
    assert_eq!(
        [&dead[0]["event_id"], &dead[0]["reason"]],
        [&json!(event), &json!("too_much_work")]
    );
    assert!(text(&dead[0], "detail").contains(what), "{:#}", dead[0]);
    let trace = world.get(&format!("/api/v1/events/{event}")).await;
    assert!(text(&trace, "summary").contains(what), "{:#}", trace["summary"]);
    assert!(trace.to_string().len() < 1 << 20, "the trace is bounded too");
    world.event(&order(&json!({"do": "echo"}))).await;
    receiver.wait_for("/sink", 1).await;
    let peak = peak_memory(&world);
    assert!(peak < 300 << 20, "the server held {} MiB", peak >> 20);
}

#[rstest]
#[tokio::test]
async fn an_event_under_which_the_process_died_three_times_is_set_aside(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((mut world, receiver)) = world_with_hostile(backend).await else { return };
    // Longer than the test needs between noticing the run and the kill.
    chain(&world, 16, &json!({})).await;
    let slow = order(&json!({"do": "sleep", "millis": 700}));
    let event = world.event(&slow).await;
    let path = format!("/api/v1/events/{event}");
    for deaths in 1..=3 {
        let running = |found: &Value| {
            let waiting = &found["waiting"][0];
            waiting["running"] == true && waiting["crashes"] == deaths - 1
        };
        world.eventually(&path, running).await;
        world.restart();
    }
    let dead = world.eventually(DEAD, |found| found[0]["id"].is_string()).await;
    assert_eq!(dead[0]["event_id"], event);
    assert_eq!(dead[0]["reason"], "crashed_the_host");
    let trace = world.get(&path).await;
    assert_eq!(trace["waiting"], json!([]));
    assert!(text(&trace, "summary").contains("died 3 times"), "{:#}", trace["summary"]);
    world.event(&order(&json!({"do": "echo"}))).await;
    receiver.wait_for("/sink", 1).await;
}

#[tokio::test]
async fn what_waited_when_the_process_died_is_not_blamed() {
    let Some((mut world, receiver)) = world_with_hostile(Sqlite).await else { return };
    chain(&world, 1, &json!({})).await;
    let slow = order(&json!({"do": "sleep", "millis": 700}));
    let waiting = vec![order(&json!({"do": "echo"})); 20];
    let mut events = vec![slow; 4];
    events.extend(waiting);
    world.post("/api/v1/events", &json!(events)).await;
    world.restart();
    world.restart();
    receiver.wait_for("/sink", 24).await;
    assert_eq!(world.get(DEAD).await, json!([]));
}

/// Returns an event in the form of `CloudEvents` with extension attributes.
fn cloud_event(order: &Value) -> Call {
    let event = json!({
        "specversion": "1.0", "type": "hostile.order", "source": "crm", "id": "A1", "subject": "17",
        "tenant": "acme", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "attempts": 3, "data": order,
    });
    Call::post("/api/v1/events", "application/cloudevents+json", event.to_string())
}

#[tokio::test]
async fn modules_of_a_chain_add_to_what_the_ones_before_them_said() {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    chain(&world, 2, &json!({})).await;
    let told = json!({"do": "tell"});
    let second = json!({"do": "draft", "attributes": {"region": "north", "tenant": "other"}, "payload": told});
    let first = json!({
        "do": "draft", "kind": "ledger.entry", "subject": "L-9",
        "attributes": {"region": "south", "stage": "one"}, "payload": second,
    });
    let answer = world.client().send(cloud_event(&first)).await.unwrap();
    let event = text(&answer.data(), "id");
    let arrival = receiver.first("/sink").await.json();
    assert_eq!([&arrival["event"], &arrival["resource_id"]], ["ledger.entry", "L-9"]);
    assert_eq!(arrival["parent_id"], event);
    let seen = &arrival["payload"];
    assert_eq!([&seen["kind"], &seen["subject"]], ["ledger.entry", "L-9"]);
    let attributes = json!({
        "attempts": "3", "region": "north", "stage": "one", "tenant": "other",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!(seen["attributes"], attributes);
}

#[tokio::test]
async fn what_a_module_sets_leaves_over_what_the_event_had() {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    chain(&world, 1, &json!({})).await;
    let patch = json!({"envelope": "cloudevents"});
    assert_eq!(world.client().patch("/api/v1/endpoints/sink", &patch).await.unwrap().status, 200);
    let order = json!({"do": "route", "attributes": {"tenant": "other", "region": "north"}});
    let answer = world.client().send(cloud_event(&order)).await.unwrap();
    let arrival = receiver.first("/sink").await.json();
    assert_eq!([&arrival["tenant"], &arrival["region"]], ["other", "north"]);
    assert_eq!(arrival["attempts"], 3, "its own attributes keep their JSON types");
    assert_eq!(arrival["parentid"], answer.data()["id"]);
    assert_eq!(arrival["data"]["do"], "route");
}

#[rstest]
#[tokio::test]
async fn every_part_of_a_split_has_an_id_of_its_own(
    #[values("default", "cloudevents", "cloudevents-binary")] envelope: &str,
) {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    chain(&world, 1, &json!({})).await;
    let patch = json!({"envelope": envelope});
    assert_eq!(world.client().patch("/api/v1/endpoints/sink", &patch).await.unwrap().status, 200);
    let event = world.event(&order(&json!({"do": "split", "count": 3}))).await;
    let ids = async |from: usize| {
        let arrivals = receiver.wait_for("/sink", from + 3).await;
        let id = |arrival: &waybill_tests::Arrival| match envelope {
            "cloudevents-binary" => arrival.header("ce-id").to_owned(),
            _ => text(&arrival.json(), "id"),
        };
        let mut ids: Vec<String> = arrivals[from..].iter().map(id).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let first = ids(0).await;
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(!first.contains(&event));
    // A replay emits the same events, so that a receiver recognises them.
    world.post(&format!("/api/v1/events/{event}/replay"), &json!({})).await;
    assert_eq!(ids(3).await, first);
}

#[tokio::test]
async fn a_delay_longer_than_max_wait_holds_the_next_delivery_of_the_record_too() {
    let Some((world, _receiver)) = world_with_hostile(Sqlite).await else { return };
    let smart = json!({"mode": "smart", "smart": {"window": "300ms", "max_wait": "300ms"}});
    let changed = world.client().patch("/api/v1/endpoints/sink", &smart).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    chain(&world, 1, &json!({})).await;
    let late = json!({"do": "route", "to": ["sink"], "delay": 3_600, "ordering_key": "one"});
    for _ in 0..2 {
        let event = world.event(&order(&late)).await;
        planned(&world, &event).await;
    }
    let waiting = world.get("/api/v1/deliveries?status=pending").await;
    assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting:#}");
    let due: jiff::Timestamp = text(&waiting[0], "due_at").parse().unwrap();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(50);
    assert!(due > soon, "the second delivery is due at {due}");
}

/// Returns an event whose route gives the key.
fn keyed(key: &str) -> Value {
    order(&json!({"do": "route", "to": ["sink"], "dedupe_key": key}))
}

/// Returns the event's trace once its modules have run.
async fn planned(world: &World, event: &str) -> Value {
    let done = |found: &Value| found["steps"][0].is_object() && found["waiting"] == json!([]);
    world.eventually(&format!("/api/v1/events/{event}"), done).await
}

#[rstest]
#[tokio::test]
async fn a_suppressed_delivery_names_the_one_that_holds_its_key(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = world_with_hostile(backend).await else { return };
    chain(&world, 1, &json!({})).await;
    world.event(&keyed("the same")).await;
    let holder = receiver.first("/sink").await.header("webhook-id").to_owned();
    let second = world.event(&keyed("the same")).await;
    let trace = planned(&world, &second).await;
    let step = trace["steps"].as_array().unwrap().last().unwrap();
    assert_eq!([&step["verdict"], &step["holder"]], [&json!("suppressed"), &json!(holder)]);
    let summary = text(&trace, "summary");
    assert!(summary.contains(&holder) && summary.contains("the same"), "{summary}");
    world.event(&keyed("another")).await;
    assert_eq!(receiver.wait_for("/sink", 2).await.len(), 2);
}

#[rstest]
#[tokio::test]
async fn a_dedupe_key_is_free_once_its_holder_is_dead_or_cancelled(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = world_with_hostile(backend).await else { return };
    chain(&world, 1, &json!({})).await;
    receiver.script("/sink", vec![Reply::Status(500); 4]);
    world.event(&keyed("dead")).await;
    world.eventually(DEAD, |found| found[0]["delivery_id"].is_string()).await;
    world.event(&keyed("dead")).await;
    receiver.wait_for("/sink", 5).await;

    let late =
        order(&json!({"do": "route", "to": ["other"], "dedupe_key": "late", "delay": 3_600}));
    let event = world.event(&late).await;
    let held = planned(&world, &event).await["deliveries"][0].clone();
    let cancel = format!("/api/v1/deliveries/{}/cancel", text(&held, "id"));
    world.post(&cancel, &json!({})).await;
    let event = world.event(&late).await;
    let next = planned(&world, &event).await["deliveries"][0].clone();
    assert_eq!(next["status"], "pending", "{next:#}");
    let event = world.event(&late).await;
    let trace = planned(&world, &event).await;
    assert_eq!(trace["deliveries"], json!([]));
    assert!(text(&trace, "summary").contains(&text(&next, "id")), "{:#}", trace["summary"]);
}

#[tokio::test]
async fn a_dedupe_key_is_free_once_its_time_is_over() {
    let Some((world, receiver)) = world_with_hostile(Postgres).await else { return };
    chain(&world, 1, &json!({})).await;
    world.event(&keyed("k")).await;
    receiver.first("/sink").await;
    let over = "UPDATE dedupe_key SET expires_at = taken_at";
    Database::run(&world.settings().database, over).await.unwrap();
    world.event(&keyed("k")).await;
    receiver.wait_for("/sink", 2).await;
    let event = world.event(&keyed("k")).await;
    let trace = planned(&world, &event).await;
    assert_eq!(trace["deliveries"], json!([]), "the second delivery holds it now");
}

#[tokio::test]
async fn the_same_key_twice_in_one_plan_is_one_delivery() {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    chain(&world, 1, &json!({})).await;
    let twice = order(&json!({"do": "route", "to": ["sink", "sink", "other"], "dedupe_key": "k"}));
    let event = world.event(&twice).await;
    let trace = planned(&world, &event).await;
    assert_eq!(trace["deliveries"].as_array().unwrap().len(), 2, "{trace:#}");
    receiver.wait_for("/sink", 1).await;
    receiver.wait_for("/other", 1).await;
}

#[tokio::test]
async fn the_trace_says_who_was_disabled_and_what_was_missing() {
    let Some((world, _receiver)) = world_with_hostile(Sqlite).await else { return };
    let disabled = json!({"enabled": false, "events": ["lead.*"]});
    let answer = world.client().patch("/api/v1/endpoints/other", &disabled).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let summary = async |event: &str| text(&planned(&world, event).await, "summary");

    let event = world.event(&json!({"type": "lead.created", "data": {"id": 1}})).await;
    assert!(summary(&event).await.contains("endpoint `other` is disabled"));

    let flow = json!({"name": "plain", "events": ["invoice.*"], "endpoints": ["other"]});
    world.post("/api/v1/flows", &flow).await;
    let event = world.event(&json!({"type": "invoice.paid", "data": {"id": 1}})).await;
    let trace = planned(&world, &event).await;
    assert!(text(&trace, "summary").contains("endpoint `other` is disabled"), "{trace:#}");
    assert_eq!(trace["steps"][0]["flow"], "plain");

    let off = json!({"enabled": false});
    assert_eq!(world.client().patch("/api/v1/flows/plain", &off).await.unwrap().status, 200);
    let event = world.event(&json!({"type": "invoice.paid", "data": {"id": 2}})).await;
    assert!(summary(&event).await.contains("flow `plain` is disabled"));

    chain(&world, 1, &json!({})).await;
    let event = world.event(&order(&json!({"do": "route_nowhere"}))).await;
    assert!(summary(&event).await.contains("`no-such-endpoint`, which is not among"));
    let event = world.event(&order(&json!({"do": "route", "to": ["other"]}))).await;
    assert!(summary(&event).await.contains("endpoint `other` is disabled"));
}

#[rstest]
#[tokio::test]
async fn a_slow_module_holds_up_no_other_flow(#[values("hostile", "lead-to-slack")] module: &str) {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    let Some(component) = guest("lead-to-slack") else { return };
    let upload =
        Call::post("/api/v1/modules/lead-to-slack?activate=true", "application/wasm", component);
    assert_eq!(world.client().send(upload).await.unwrap().status, 201);
    chain(&world, 1, &json!({"events": ["hostile.order"]})).await;
    let good = json!({"name": "good", "events": ["lead.*"], "modules": [{"name": module}],
                      "endpoints": ["other"]});
    world.post("/api/v1/flows", &good).await;
    // More than memory has room for, and each takes a second of a module's time.
    let slow = vec![order(&json!({"do": "sleep", "millis": 700})); 1_000];
    let mut last = String::new();
    for _ in 0..3 {
        let receipts = world.post("/api/v1/events", &json!(slow)).await;
        last = text(receipts.as_array().unwrap().last().unwrap(), "id");
    }
    let lead = json!({"id": 1, "do": "route", "to": ["other"], "name": "A", "company": "B",
                      "lead_value": "10.00", "status": "1", "source": "1", "email": "a@example.com"});
    world.event(&json!({"type": "lead.converted", "data": lead})).await;
    receiver.wait_for("/other", 1).await;
    let trace = world.get(&format!("/api/v1/events/{last}")).await;
    assert_ne!(trace["waiting"], json!([]), "the good flow's event did not wait for the slow ones");
}
