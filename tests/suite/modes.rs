//! The three modes, ordered endpoints, and the limits that keep endpoints apart.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Arrival, Receiver, Reply, World};

use crate::support::{endpoint_with, invoice, problem, verified};

const EVENTS: &str = "/api/v1/events";

/// Returns a state of one invoice.
fn state(invoice: u32, number: u32) -> Value {
    json!({"type": "invoice.updated", "resource_id": invoice.to_string(),
           "data": {"id": invoice, "n": number}})
}

fn numbers(arrivals: &[Arrival]) -> Vec<u64> {
    arrivals.iter().map(|one| one.json()["payload"]["n"].as_u64().unwrap()).collect()
}

/// Lets a request wait for its first attempt on a slow machine too.
fn patient(settings: &mut waybill_tests::Settings) {
    settings.set("immediate.wait", "1m");
}

#[rstest]
#[tokio::test]
async fn immediate_answers_with_the_first_attempt(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start_with(backend, patient).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"mode": "immediate"});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let answer = world.post(EVENTS, &invoice(1)).await;
    let delivery = &answer["deliveries"][0];
    let arrival = receiver.first("/a").await;
    assert!(verified(&arrival, &text(&made, "secret")));
    assert_eq!(delivery["id"], arrival.header("webhook-id"));
    assert_eq!([&delivery["endpoint"], &delivery["status"]], ["erp", "delivered"]);
    assert_eq!(delivery["response_status"], 200);
    assert!(delivery["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{delivery:#}");
}

#[rstest]
#[tokio::test]
async fn immediate_retries_a_failure_like_any_other(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start_with(backend, patient).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::Status(503)]);
    let more = json!({"mode": "immediate"});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let answer = world.post(EVENTS, &invoice(1)).await;
    let delivery = &answer["deliveries"][0];
    assert_eq!(delivery["status"], "pending", "{answer:#}");
    assert_eq!(delivery["response_status"], 503);
    let arrivals = receiver.wait_for("/a", 2).await;
    assert_eq!(arrivals[1].header("webhook-id"), delivery["id"].as_str().unwrap());
    let path = format!("/api/v1/deliveries/{}", text(delivery, "id"));
    world.eventually(&path, |found| found["status"] == "delivered").await;
}

#[tokio::test]
async fn immediate_does_not_wait_longer_than_it_may() {
    let short = |settings: &mut waybill_tests::Settings| {
        settings.set("immediate.wait", "200ms");
    };
    let Some(world) = World::start_with(Sqlite, short).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Held);
    let more = json!({"mode": "immediate"});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let answer = world.post(EVENTS, &invoice(1)).await;
    assert_eq!(answer["deliveries"][0]["status"], "pending", "{answer:#}");
    receiver.release("/a");
    let path = format!("/api/v1/deliveries/{}", text(&answer["deliveries"][0], "id"));
    world.eventually(&path, |found| found["status"] == "delivered").await;
    assert_eq!(receiver.count("/a"), 1);
}

#[rstest]
#[tokio::test]
async fn smart_sends_the_last_state_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"mode": "smart", "smart": {"window": "1s", "max_wait": "30s"}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let states: Vec<Value> = (1..=5).map(|n| state(17, n)).chain([state(18, 1)]).collect();
    let receipts = world.post(EVENTS, &json!(states)).await;
    let arrivals = receiver.wait_for("/a", 2).await;
    let of = |resource: &str| {
        arrivals.iter().find(|one| one.json()["resource_id"] == resource).unwrap().json()
    };
    assert_eq!(of("17")["payload"]["n"], 5);
    assert_eq!(of("17")["id"], receipts[4]["id"]);
    let alone = of("18");
    assert!(alone.get("collapsed").is_none_or(|n| n == 0), "nothing collapsed: {alone:#}");
    let collapsed = of("17")["collapsed"].as_u64();
    assert_eq!(collapsed, Some(4), "four were collapsed into the fifth");
    let statuses = world.get("/api/v1/deliveries?status=superseded").await;
    assert_eq!(statuses.as_array().unwrap().len(), 4);
    let first = world.get(&format!("{EVENTS}/{}", text(&receipts[0], "id"))).await;
    assert_eq!(first["deliveries"][0]["status"], "superseded", "{first:#}");
}

#[rstest]
#[tokio::test]
async fn smart_collapses_over_a_kill_and_a_restart(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"mode": "smart", "smart": {"window": "12s", "max_wait": "5m"}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    world.event(&state(17, 1)).await;
    world.event(&state(17, 2)).await;
    world.kill9();
    world.restart();
    world.event(&state(17, 3)).await;
    let arrival = receiver.first("/a").await.json();
    assert_eq!(arrival["payload"]["n"], 3);
    assert_eq!(arrival["collapsed"], 2);
    world
        .eventually("/api/v1/deliveries?status=delivered", |found| {
            found.as_array().is_some_and(|all| all.len() == 1)
        })
        .await;
    assert_eq!(receiver.count("/a"), 1);
}

#[tokio::test]
async fn smart_sends_after_max_wait_while_the_record_keeps_changing() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"mode": "smart", "smart": {"window": "300ms", "max_wait": "300ms"}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    // Without `max_wait` each change would restart the window, and nothing would be sent.
    let mut number = 0;
    while receiver.count("/a") == 0 && number < 3000 {
        number += 1;
        world.event(&state(17, number)).await;
    }
    let arrivals = receiver.wait_for("/a", 1).await;
    assert!(arrivals[0].json()["payload"]["n"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn a_smart_window_longer_than_max_wait_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let more = json!({"mode": "smart", "smart": {"window": "10m", "max_wait": "300ms"}});
    let settings = endpoint_with("erp", "https://erp.example/a", &more);
    let answer = world.client().post("/api/v1/endpoints", &settings).await.unwrap();
    let message = "must not be shorter than `smart.window`".to_owned();
    assert_eq!(problem(&answer, 422), [("smart.max_wait".to_owned(), message)]);
}

#[rstest]
#[tokio::test]
async fn ordered_keeps_the_order_of_each_record(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    // The first attempts fail, so that later states could overtake.
    receiver.script("/a", [500, 503, 500, 500].map(Reply::Status));
    let more = json!({"ordered": true, "retry": {"schedule": vec!["30ms"; 20]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let states: Vec<Value> = (1..=10).flat_map(|n| [state(17, n), state(18, n)]).collect();
    world.post(EVENTS, &json!(states)).await;
    let arrivals = receiver.wait_for("/a", 24).await;
    for record in ["17", "18"] {
        let of: Vec<Arrival> =
            arrivals.iter().filter(|one| one.json()["resource_id"] == record).cloned().collect();
        let mut seen = numbers(&of);
        let sorted = seen.is_sorted();
        assert!(sorted, "record {record} came as {seen:?}");
        seen.dedup();
        assert_eq!(seen, (1..=10).collect::<Vec<u64>>());
    }
}

#[rstest]
#[tokio::test]
async fn ordered_survives_a_kill(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::Hang]);
    let more = json!({"ordered": true, "retry": {"schedule": vec!["30ms"; 20]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let states: Vec<Value> = (1..=5).map(|n| state(17, n)).collect();
    world.post(EVENTS, &json!(states)).await;
    receiver.wait_for("/a", 1).await;
    world.kill9();
    world.restart();
    let arrivals = receiver.wait_for("/a", 6).await;
    assert_eq!(numbers(&arrivals), [1, 1, 2, 3, 4, 5]);
    assert_eq!(arrivals[0].header("webhook-id"), arrivals[1].header("webhook-id"));
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_the_endpoint_allows() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/slow", Reply::Held);
    let more = json!({"max_in_flight": 3});
    world.endpoint(&endpoint_with("slow", &receiver.url("/slow"), &more)).await;
    world.endpoint(&endpoint_with("fast", &receiver.url("/fast"), &json!({}))).await;
    let events: Vec<Value> = (0..50).map(invoice).collect();
    world.post(EVENTS, &json!(events)).await;
    receiver.wait_for("/fast", 50).await;
    receiver.wait_for("/slow", 3).await;
    let later: Vec<Value> = (50..100).map(invoice).collect();
    world.post(EVENTS, &json!(later)).await;
    receiver.wait_for("/fast", 100).await;
    assert_eq!(receiver.count("/slow"), 3, "three are held, and no other was sent");
    receiver.release("/slow");
    receiver.wait_for("/slow", 100).await;
}

#[rstest]
#[tokio::test]
async fn an_endpoint_that_hangs_delays_no_other(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    for n in 0..5 {
        let (name, path) = (format!("hang{n}"), format!("/hang{n}"));
        receiver.always(&path, Reply::Hang);
        world.endpoint(&endpoint_with(&name, &receiver.url(&path), &json!({}))).await;
    }
    world.endpoint(&endpoint_with("good", &receiver.url("/good"), &json!({}))).await;
    for round in 0..20 {
        let events: Vec<Value> = (round * 100..round * 100 + 100).map(invoice).collect();
        world.post(EVENTS, &json!(events)).await;
    }
    let arrivals = receiver.wait_for("/good", 2000).await;
    let mut ids: Vec<String> =
        arrivals.iter().map(|one| one.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2000, "each came once");
}

#[tokio::test]
async fn a_rate_limit_holds_and_nothing_is_lost() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"rate_limit": {"per_second": 20, "burst": 5}});
    world.endpoint(&endpoint_with("slow", &receiver.url("/slow"), &more)).await;
    let events: Vec<Value> = (0..25).map(invoice).collect();
    let began = Instant::now();
    world.post(EVENTS, &json!(events)).await;
    let arrivals = receiver.wait_for("/slow", 25).await;
    let last = arrivals.iter().map(|one| one.at).max().unwrap();
    // 5 at once, 20 more at 20 a second: at least a second, with a margin for rounding.
    let took = last.duration_since(began);
    assert!(took > Duration::from_millis(900), "25 requests in {took:?}");
}

#[rstest]
#[tokio::test]
async fn a_disabled_endpoint_gets_nothing_until_it_is_enabled(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Status(500));
    let more = json!({"retry": {"schedule": vec!["200ms"; 50]}});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    world.event(&invoice(1)).await;
    receiver.wait_for("/a", 1).await;
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    world.client().patch(&path, &json!({"enabled": false})).await.unwrap();
    let sent = receiver.count("/a");
    // Another endpoint serves as a clock: when its second retry has come, ours would have been due.
    receiver.script("/clock", [500, 500, 500].map(Reply::Status));
    world.endpoint(&endpoint_with("clock", &receiver.url("/clock"), &more)).await;
    world.event(&invoice(2)).await;
    receiver.wait_for("/clock", 4).await;
    assert!(receiver.count("/a") <= sent + 1, "at most one was under way already");
    receiver.always("/a", Reply::Status(200));
    let sent = receiver.count("/a");
    world.client().patch(&path, &json!({"enabled": true})).await.unwrap();
    let waiting = receiver.wait_for("/a", sent + 1).await;
    assert_eq!(waiting[0].header("webhook-id"), waiting[sent].header("webhook-id"));
}
