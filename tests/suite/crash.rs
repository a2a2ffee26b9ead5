//! `kill -9` at any moment: acknowledged events are delivered or dead after the restart, a
//! duplicate has the same `webhook-id`, and nothing is recorded as delivered that was not sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Client, Receiver, Reply, World};

use crate::support::{announce, endpoint_with, hmac, seed, verified};

/// The secret with which the CRM signs.
const SECRET: &str = "the-crm-s-own-secret";

/// Number of kills on each database. `WAYBILL_CRASH_ROUNDS` overrides it.
const ROUNDS: u32 = 50;

/// Number of concurrent requests.
const CALLERS: u32 = 8;

fn rounds() -> u32 {
    let given = std::env::var("WAYBILL_CRASH_ROUNDS").ok();
    given.map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// Returns the event as a CRM sends it, signed.
fn webhook(kind: &str, event: &Value) -> Call {
    let body = json!({"event": kind, "payload": event["data"]}).to_string();
    let signature = hex::encode(hmac(SECRET.as_bytes(), &[body.as_bytes()]));
    Call::post("/in/crm", "application/json", body).header("x-webhook-signature", &signature)
}

/// Posts events, some alone, some in arrays and some as signed webhooks, until it is stopped or the
/// server is gone. Returns the acknowledged ids.
async fn call(client: Client, next: Arc<AtomicU32>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    while !stop.load(Relaxed) {
        let number = next.fetch_add(3, Relaxed);
        let kind = if number.is_multiple_of(2) { "invoice.paid" } else { "hostile.order" };
        let event = |n: u32| json!({"type": kind, "resource_id": (n % 7).to_string(), "data": {"do": "echo", "n": n}});
        let body = match number % 4 {
            0 => json!([event(number), event(number + 1), event(number + 2)]),
            _ => event(number),
        };
        let answer = match number % 4 {
            1 => client.send(webhook(kind, &event(number))).await,
            _ => client.post("/api/v1/events", &body).await,
        };
        let Ok(answer) = answer else { break };
        if answer.status != 202 {
            break;
        }
        let data = answer.data();
        let receipts = data.as_array().cloned().unwrap_or_else(|| vec![data]);
        acknowledged.extend(receipts.iter().map(|receipt| text(receipt, "id")));
    }
    acknowledged
}

/// Runs one round: load, a kill at a random moment, a restart. Returns the acknowledged ids.
async fn round(world: &mut World, next: &Arc<AtomicU32>, after: Duration) -> Vec<String> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(world.client().clone(), Arc::clone(next), Arc::clone(&stop)));
    }
    // The test needs a random moment, so it does not wait for a condition.
    tokio::time::sleep(after).await;
    world.kill9();
    stop.store(true, Relaxed);
    let acknowledged = callers.join_all().await.concat();
    world.restart();
    acknowledged
}

/// Creates a good endpoint, one behind a module, and one that always fails.
async fn set(
    backend: Backend,
    receiver: &Receiver,
) -> Option<(World, BTreeMap<&'static str, String>)> {
    let component = guest("hostile")?;
    let world = World::start(backend).await?;
    let upload = Call::post("/api/v1/modules/hostile?activate=true", "application/wasm", component);
    assert_eq!(world.client().send(upload).await.unwrap().status, 201);
    let crm = json!({"name": "crm", "kind": "webhook", "webhook": {"scheme": "perfexapi"}, "secret": SECRET});
    world.post("/api/v1/sources", &crm).await;
    receiver.always("/bad", Reply::Status(500));
    let mut secrets = BTreeMap::new();
    for (name, events, schedule) in [
        ("good", json!(["*"]), vec!["20ms"; 50]),
        ("bad", json!(["invoice.*"]), vec!["10ms"]),
        ("sink", json!([]), vec!["20ms"; 50]),
    ] {
        let more = json!({"events": events, "retry": {"schedule": schedule}});
        let url = receiver.url(&format!("/{name}"));
        let made = world.endpoint(&endpoint_with(name, &url, &more)).await;
        secrets.insert(name, text(&made, "secret"));
    }
    let flow = json!({"name": "hostile", "events": ["hostile.*"],
                      "modules": [{"name": "hostile"}], "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, secrets))
}

/// Returns all pages of a list.
async fn all(world: &World, path: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.client().get(&format!("{path}limit=200{cursor}")).await.unwrap();
        found.extend(page.data().as_array().unwrap().clone());
        match page.json()["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Waits until nothing is waiting: no delivery is pending or leased, no event is unplanned.
async fn settle(world: &World, acknowledged: &BTreeSet<String>) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
    for id in acknowledged {
        let done = |found: &Value| {
            let deliveries = found["deliveries"].as_array().unwrap();
            found["waiting"] == json!([]) && deliveries.len() == 2
        };
        world.eventually(&format!("/api/v1/events/{id}"), done).await;
    }
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_any_kill(#[values(Sqlite, Postgres)] backend: Backend) {
    let receiver = Receiver::start().await;
    let Some((mut world, secrets)) = set(backend, &receiver).await else { return };
    let seed = seed();
    announce(&format!("{backend:?}: WAYBILL_CRASH_SEED={seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    let next = Arc::new(AtomicU32::new(0));
    let mut acknowledged = BTreeSet::new();
    // A slow machine captures little in a round, so it has more of them.
    for n in 0..10 * rounds() {
        if n >= rounds() && acknowledged.len() > 100 {
            break;
        }
        let after = Duration::from_micros(random.random_range(0..500_000));
        acknowledged.extend(round(&mut world, &next, after).await);
    }
    assert!(acknowledged.len() > 100, "{} events are too few to say much", acknowledged.len());
    settle(&world, &acknowledged).await;
    check_arrivals(&receiver, &secrets, &acknowledged);
    check_records(&world, &receiver, &acknowledged).await;
}

/// Checks that every acknowledged event has arrived, and that repeats have the same id and a valid
/// signature.
fn check_arrivals(
    receiver: &Receiver,
    secrets: &BTreeMap<&'static str, String>,
    acknowledged: &BTreeSet<String>,
) {
    for (name, secret) in secrets {
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for arrival in receiver.arrivals(&format!("/{name}")) {
            assert!(verified(&arrival, secret), "{name}: {:?}", arrival.headers);
            let body = arrival.json();
            assert_eq!(body["delivery_id"], arrival.header("webhook-id"));
            ids.entry(text(&body, "id")).or_default().insert(text(&body, "delivery_id"));
        }
        let ambiguous: Vec<_> =
            ids.iter().filter(|(_, deliveries)| deliveries.len() != 1).collect();
        assert!(ambiguous.is_empty(), "{name}: one event under several ids: {ambiguous:?}");
        if *name == "good" {
            let lost: Vec<_> = acknowledged.iter().filter(|id| !ids.contains_key(*id)).collect();
            assert!(lost.is_empty(), "{} acknowledged events never came: {lost:?}", lost.len());
        }
    }
}

/// Checks that the server's records match what happened.
async fn check_records(world: &World, receiver: &Receiver, acknowledged: &BTreeSet<String>) {
    let sent: BTreeSet<String> = ["/good", "/bad", "/sink"]
        .iter()
        .flat_map(|path| receiver.arrivals(path))
        .map(|arrival| arrival.header("webhook-id").to_owned())
        .collect();
    let deliveries = all(world, "/api/v1/deliveries?").await;
    for delivery in &deliveries {
        let (id, status) = (text(delivery, "id"), text(delivery, "status"));
        let wanted = if delivery["endpoint"] == "bad" { "dead" } else { "delivered" };
        assert_eq!(status, wanted, "{delivery:#}");
        assert!(sent.contains(&id), "recorded as {status}, but it never came: {delivery:#}");
    }
    let dead = all(world, "/api/v1/dead-letters?").await;
    let died: BTreeSet<&str> = dead.iter().filter_map(|one| one["delivery_id"].as_str()).collect();
    let bad: BTreeSet<&str> = deliveries
        .iter()
        .filter(|one| one["endpoint"] == "bad")
        .filter_map(|one| one["id"].as_str())
        .collect();
    assert_eq!(died, bad, "each dead delivery is one dead letter");
    let planned: BTreeSet<&str> =
        deliveries.iter().filter_map(|one| one["event_id"].as_str()).collect();
    let unplanned: Vec<_> =
        acknowledged.iter().filter(|id| !planned.contains(id.as_str())).collect();
    assert!(unplanned.is_empty(), "{unplanned:?}");
}

#[rstest]
#[tokio::test]
async fn a_drain_finishes_what_is_under_way(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Arc::new(Receiver::start().await);
    receiver.always("/a", Reply::Held);
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &json!({}))).await;
    let id = world.event(&crate::support::invoice(1)).await;
    receiver.first("/a").await;
    let stopping = tokio::task::spawn_blocking(move || {
        world.stop();
        world
    });
    receiver.release("/a");
    let mut world = stopping.await.unwrap();
    world.restart();
    let trace = world.get(&format!("/api/v1/events/{id}")).await;
    assert_eq!(trace["deliveries"][0]["status"], "delivered", "{trace:#}");
    assert_eq!(receiver.count("/a"), 1, "nothing was sent twice");
}

#[rstest]
#[tokio::test]
async fn a_drain_gives_up_after_its_grace_and_loses_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let short = |settings: &mut waybill_tests::Settings| {
        settings.set("shutdown.grace", "300ms");
    };
    let Some(mut world) = World::start_with(backend, short).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::Hang]);
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &json!({}))).await;
    world.event(&crate::support::invoice(1)).await;
    receiver.first("/a").await;
    let mut world = tokio::task::spawn_blocking(move || {
        world.stop();
        world
    })
    .await
    .unwrap();
    world.restart();
    let arrivals = receiver.wait_for("/a", 2).await;
    assert_eq!(arrivals[0].header("webhook-id"), arrivals[1].header("webhook-id"));
    world.eventually("/api/v1/deliveries", |found| found[0]["status"] == "delivered").await;
}

/// A load balancer polls `/readyz`, and turns away before the listener closes.
#[tokio::test]
async fn a_server_that_drains_says_so_and_still_takes_events() {
    let drains = |settings: &mut waybill_tests::Settings| {
        settings.set("shutdown.drain", "3s");
    };
    let Some(mut world) = World::start_with(Sqlite, drains).await else { return };
    let client = world.client().clone();
    let ready = client.get("/readyz").await.unwrap();
    assert_eq!(ready.status, 200);
    let stopping = tokio::task::spawn_blocking(move || {
        world.stop();
        world
    });
    let mut ready = client.get("/readyz").await.unwrap();
    while ready.status == 200 {
        ready = client.get("/readyz").await.unwrap();
    }
    assert_eq!(ready.status, 503);
    assert_eq!(ready.text(), r#"{"status":"stopping"}"#);
    let taken = client.post("/api/v1/events", &crate::support::invoice(1)).await.unwrap();
    assert_eq!(taken.status, 202);
    let mut world = stopping.await.unwrap();
    world.restart();
    assert_eq!(world.get("/api/v1/events").await.as_array().unwrap().len(), 1);
}
