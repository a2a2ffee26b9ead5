//! Receivers that ask for a pause: `429`, and `503` with `Retry-After`, hold back the endpoint and
//! do not count as attempts of the schedule.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

use crate::support::{endpoint_with, invoice, texts};

const DELIVERIES: &str = "/api/v1/deliveries?limit=200";

fn all_are(status: &'static str, n: usize) -> impl Fn(&Value) -> bool {
    move |found| texts(found, "status") == vec![status; n]
}

#[rstest]
#[tokio::test]
async fn a_receiver_that_takes_few_requests_a_second_gets_them_all(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::AtMost(5));
    let more = json!({"retry": {"schedule": ["1s", "1s"]}});
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    let events: Vec<Value> = (1..=100).map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
    world.eventually(DELIVERIES, all_are("delivered", 100)).await;
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
    let requests = receiver.count("/a");
    assert!(requests < 300, "{requests} requests for 100 deliveries");
    let shown = world.get(&format!("/api/v1/endpoints/{}", text(&made, "id"))).await;
    let rate = shown["receiver_limit"]["per_second"].as_f64().unwrap();
    assert!((0.5..=10.0).contains(&rate), "5 a second was learnt as {rate}");
}

/// Creates an endpoint without retries whose first request is answered 429 with an hour of
/// `Retry-After`.
async fn held_for_an_hour(world: &World, receiver: &Receiver) -> String {
    receiver.script("/a", [Reply::retry_after(429, 3_600)]);
    let more = json!({"retry": {"schedule": []}});
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    world.event(&invoice(1)).await;
    receiver.first("/a").await;
    world.eventually(DELIVERIES, held).await;
    format!("/api/v1/endpoints/{}", text(&made, "id"))
}

/// Returns whether every delivery waits for most of an hour.
fn held(deliveries: &Value) -> bool {
    let hour = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(50);
    let waits = |delivery: &Value| {
        let due: Option<jiff::Timestamp> =
            delivery["due_at"].as_str().map(|at| at.parse().unwrap());
        delivery["status"] == "pending" && due.is_some_and(|due| due > hour)
    };
    deliveries.as_array().unwrap().iter().all(waits)
}

#[rstest]
#[tokio::test]
async fn a_refusal_holds_back_the_whole_endpoint_over_a_restart(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let path = held_for_an_hour(&world, &receiver).await;
    world.event(&invoice(2)).await;
    world.eventually(DELIVERIES, held).await;
    world.restart();
    world.event(&invoice(3)).await;
    world.eventually(DELIVERIES, held).await;
    assert_eq!(receiver.count("/a"), 1);
    assert!(world.get(&path).await["receiver_limit"]["held_until"].is_string());
}

#[tokio::test]
async fn another_address_is_not_held_back() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let path = held_for_an_hour(&world, &receiver).await;
    let change = json!({"url": receiver.url("/b")});
    assert_eq!(world.client().patch(&path, &change).await.unwrap().status, 200);
    receiver.first("/b").await;
    world.eventually(DELIVERIES, all_are("delivered", 1)).await;
    assert!(world.get(&path).await.get("receiver_limit").is_none());
}

#[tokio::test]
async fn a_late_refusal_of_the_old_address_does_not_hold_back_the_new_one() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/old", [Reply::held_retry_after(429, 3_600)]);
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/old"), &json!({}))).await;
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    world.event(&invoice(1)).await;
    receiver.first("/old").await;
    let change = json!({"url": receiver.url("/new")});
    assert_eq!(world.client().patch(&path, &change).await.unwrap().status, 200);
    receiver.release("/old");
    receiver.first("/new").await;
    world.event(&invoice(2)).await;
    world.eventually(DELIVERIES, all_are("delivered", 2)).await;
    assert!(world.get(&path).await.get("receiver_limit").is_none());
}

#[tokio::test]
async fn a_refusal_without_a_time_and_a_503_with_one_use_up_no_attempt() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::Status(429), Reply::retry_after(503, 0)]);
    let more = json!({"retry": {"schedule": []}});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    world.event(&invoice(1)).await;
    receiver.wait_for("/a", 3).await;
    let found = world.eventually(DELIVERIES, all_are("delivered", 1)).await;
    assert_eq!(found[0]["attempt_count"], 3);
}

#[tokio::test]
async fn deliveries_that_failed_together_do_not_come_back_together() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    for (name, retry) in [
        ("usual", json!({"schedule": ["1h"]})),
        ("exact", json!({"schedule": ["1h"], "jitter": 0})),
    ] {
        let path = format!("/{name}");
        receiver.always(&path, Reply::Status(500));
        world.endpoint(&endpoint_with(name, &receiver.url(&path), &json!({"retry": retry}))).await;
    }
    let events: Vec<Value> = (1..=50).map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
    for (name, least, most) in [("usual", 10.0, 60.0), ("exact", 0.0, 0.01)] {
        let path = format!("{DELIVERIES}&endpoint={name}");
        let tried = |found: &Value| {
            found.as_array().unwrap().iter().filter(|one| one["attempt_count"] == 1).count() == 50
        };
        let found = world.eventually(&path, tried).await;
        let mut waits = Vec::new();
        for delivery in found.as_array().unwrap() {
            waits.push(wait_beyond_an_hour(&world, delivery).await);
        }
        let longest = waits.iter().copied().fold(0.0, f64::max);
        assert!((least..=most).contains(&longest), "{name}: {longest} s");
    }
}

/// Returns the seconds from the end of the first attempt to the next one, less an hour.
async fn wait_beyond_an_hour(world: &World, delivery: &Value) -> f64 {
    let shown = world.get(&format!("/api/v1/deliveries/{}", text(delivery, "id"))).await;
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let attempt = &shown["attempts"][0];
    let took = attempt["duration_ms"].as_f64().unwrap() / 1e3;
    let wait = time(&shown["due_at"]).duration_since(time(&attempt["at"])).as_secs_f64();
    wait - took - 3_600.0
}
