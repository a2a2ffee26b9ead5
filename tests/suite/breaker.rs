//! Breakers: what becomes of a flow's events while one of its modules faults again and again.

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::guest;
use waybill_tests::{Receiver, Settings, World};

use crate::modules::{order, upload};
use crate::support::{endpoint_with, problem};

const DEAD: &str = "/api/v1/dead-letters";
const FLOWS: &str = "/api/v1/flows";
const MODULE: &str = "/api/v1/modules/hostile";

/// A world whose breakers open after three faults, with the guest `hostile` in a flow that does this
/// with its events then.
async fn world_with(backend: Backend, when_open: &str, wait: &str) -> Option<(World, Receiver)> {
    let component = guest("hostile")?;
    let set = |settings: &mut Settings| {
        settings.set("modules.breaker_faults", "3").set("modules.breaker_wait", wait);
        settings.set("alerts.interval", "100ms");
        settings.set("alerts.module_open", r#"{ limit = "0s", for = "0s" }"#);
    };
    let world = World::start_with(backend, set).await?;
    let receiver = Receiver::start().await;
    upload(&world, "hostile", component).await;
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&sink).await;
    let modules = json!([{"name": "hostile", "when_open": when_open}]);
    let flow =
        json!({"name": "f", "events": ["hostile.*"], "modules": modules, "endpoints": ["sink"]});
    world.post(FLOWS, &flow).await;
    Some((world, receiver))
}

/// Lets the module trap three times, and waits until its breaker is not closed.
async fn open_breaker(world: &World) -> Value {
    for _ in 0..3 {
        world.event(&order(&json!({"do": "panic"}))).await;
    }
    world.eventually(MODULE, |found| found[0]["breaker"]["state"] != "closed").await
}

async fn send_echo(world: &World) -> String {
    world.event(&order(&json!({"do": "echo"}))).await
}

/// The first step of an event's trace, once there is one.
async fn first_step(world: &World, event: &str) -> Value {
    let path = format!("/api/v1/events/{event}");
    let trace = world.eventually(&path, |found| found["steps"][0].is_object()).await;
    trace["steps"][0].clone()
}

#[rstest]
#[tokio::test]
async fn an_open_module_costs_each_event_a_dead_letter_until_a_trial_succeeds(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = world_with(backend, "dead_letter", "1h").await else { return };
    let shown = open_breaker(&world).await;
    let breaker = &shown[0]["breaker"];
    assert_eq!(breaker["faults"], 3, "{shown:#}");
    assert_eq!(breaker["last_fault"], "module_trap", "its words may quote an event");
    let event = send_echo(&world).await;
    let step = first_step(&world, &event).await;
    assert_eq!([&step["role"], &step["verdict"]], ["breaker", "failed"], "{step:#}");
    let letters = world.eventually(DEAD, |found| found[3].is_object()).await;
    let own = letters.as_array().unwrap().iter().find(|letter| letter["event_id"] == *event);
    assert_eq!(own.unwrap()["reason"], "module_open", "{letters:#}");
    assert_eq!(receiver.count("/sink"), 0);
    let fires = |found: &Value| {
        let is_it = |alert: &Value| alert["rule"] == "module_open" && alert["state"] == "firing";
        found.as_array().is_some_and(|all| all.iter().any(is_it))
    };
    world.eventually("/api/v1/alerts", fires).await;
    let line = world.server().wait_for_line(&["WARN", "the breaker of a module opened"]).unwrap();
    assert!(line.contains("hostile"), "{line}");

    // Another version has a breaker of its own.
    let Some(better) = guest("probe") else { return };
    assert_eq!(upload(&world, "hostile", better).await.status, StatusCode::CREATED);
    send_echo(&world).await;
    receiver.first("/sink").await;
    world.eventually("/api/v1/alerts", |found| !fires(found)).await;
}

#[rstest]
#[tokio::test]
async fn parked_events_wait_and_arrive_once_a_trial_succeeds(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = world_with(backend, "park", "2s").await else { return };
    open_breaker(&world).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(send_echo(&world).await);
    }
    let arrivals = receiver.wait_for("/sink", 5).await;
    let letters = world.eventually(DEAD, |found| found[2].is_object()).await;
    assert_eq!(letters.as_array().unwrap().len(), 3, "parking costs no event a dead letter");
    let mut came: Vec<String> =
        arrivals.iter().map(|one| one.json()["parent_id"].as_str().unwrap().to_owned()).collect();
    came.sort();
    sent.sort();
    assert_eq!(came, sent);
    let shown = world.eventually(MODULE, |found| found[0]["breaker"]["state"] == "closed").await;
    assert_eq!(shown[0]["breaker"]["faults"], 0);
    world.server().wait_for_line(&["WARN", "the breaker of a module closed"]).unwrap();
}

#[rstest]
#[tokio::test]
async fn parked_events_run_at_once_with_another_version(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = world_with(backend, "park", "1h").await else { return };
    open_breaker(&world).await;
    let event = send_echo(&world).await;
    let step = first_step(&world, &event).await;
    assert_eq!([&step["role"], &step["verdict"]], ["breaker", "parked"], "{step:#}");
    send_echo(&world).await;
    let Some(better) = guest("probe") else { return };
    assert_eq!(upload(&world, "hostile", better).await.status, StatusCode::CREATED);
    receiver.wait_for("/sink", 2).await;
}

/// `hostile` routes, so events cannot pass without it; `invoice-to-ledger` transforms only.
#[tokio::test]
async fn a_module_that_routes_cannot_be_passed() {
    let Some((world, _receiver)) = world_with(Sqlite, "park", "1h").await else { return };
    let passing = |name: &str| json!({"modules": [{"name": name, "when_open": "pass"}]});
    let path = format!("{FLOWS}/f");
    let answer = world.client().patch(&path, &passing("hostile")).await.unwrap();
    let faults = problem(&answer, 422);
    assert_eq!(faults[0].0, "modules[0].when_open", "{faults:?}");
    let (Some(ledger), Some(routing)) = (guest("invoice-to-ledger"), guest("hostile")) else {
        return;
    };
    upload(&world, "ledger", ledger).await;
    let answer = world.client().patch(&path, &passing("ledger")).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let faults = problem(&upload(&world, "ledger", routing).await, 422);
    assert_eq!(faults[0].0, "flows[f].modules[0].when_open", "{faults:?}");
}

/// `probe` sleeps for longer than a call may take. The events that it slept on are tried again after
/// a second, and pass too.
#[tokio::test]
async fn events_pass_a_module_that_is_open() {
    let Some(component) = guest("probe") else { return };
    let set = |settings: &mut Settings| {
        settings.set("modules.breaker_faults", "2").set("modules.breaker_wait", "1h");
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let receiver = Receiver::start().await;
    upload(&world, "hostile", component).await;
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&sink).await;
    let modules = json!([{"name": "hostile", "when_open": "pass"}]);
    let flow =
        json!({"name": "f", "events": ["hostile.*"], "modules": modules, "endpoints": ["sink"]});
    world.post(FLOWS, &flow).await;
    for _ in 0..2 {
        world.event(&order(&json!({"sleep": 60}))).await;
    }
    world.eventually(MODULE, |found| found[0]["breaker"]["state"] == "open").await;
    let event = send_echo(&world).await;
    let step = first_step(&world, &event).await;
    assert_eq!([&step["role"], &step["verdict"]], ["breaker", "passed"], "{step:#}");
    let arrivals = receiver.wait_for("/sink", 3).await;
    assert!(arrivals.iter().any(|one| one.json()["id"] == *event));
}
