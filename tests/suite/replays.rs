//! Replays of settled deliveries, and the cancellation of waiting ones.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

use crate::support::{endpoint, endpoint_with, invoice, problem};

/// Creates two endpoints, of which `bad` fails for good, and an event that both were sent. Returns
/// the event's path.
async fn one_of_two_failed(world: &World, receiver: &Receiver) -> String {
    receiver.script("/bad", [Reply::Status(500)]);
    world.endpoint(&endpoint("good", &receiver.url("/good"))).await;
    let more = json!({"retry": {"schedule": []}});
    world.endpoint(&endpoint_with("bad", &receiver.url("/bad"), &more)).await;
    let event = world.event(&invoice(1)).await;
    receiver.first("/good").await;
    world.eventually("/api/v1/dead-letters", |found| found[0]["event_id"] == event).await;
    format!("/api/v1/events/{event}")
}

#[rstest]
#[tokio::test]
async fn an_event_is_replayed_to_those_that_failed(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let event = one_of_two_failed(&world, &receiver).await;
    let answer = world.post(&format!("{event}/replay"), &json!({"failed_only": true})).await;
    assert_eq!([&answer["resent"], &answer["deliveries"]], [&json!(1), &json!(0)]);
    let arrivals = receiver.wait_for("/bad", 2).await;
    assert_eq!(arrivals[0].header("webhook-id"), arrivals[1].header("webhook-id"));
    world.eventually("/api/v1/dead-letters", |found| *found == json!([])).await;
    assert_eq!(receiver.count("/good"), 1);
    // No delivery is failed any more.
    let (replay, failed) = (format!("{event}/replay"), json!({"failed_only": true}));
    problem(&world.client().post(&replay, &failed).await.unwrap(), 409);
}

#[tokio::test]
async fn an_event_is_replayed_to_one_endpoint() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let event = one_of_two_failed(&world, &receiver).await;
    let delivered = |found: &Value| {
        found["deliveries"].as_array().unwrap().iter().any(|one| one["status"] == "delivered")
    };
    world.eventually(&event, delivered).await;
    let replay = format!("{event}/replay");
    assert_eq!(world.post(&replay, &json!({"endpoint": "good"})).await["resent"], 1);
    let arrivals = receiver.wait_for("/good", 2).await;
    assert_eq!(arrivals[0].header("webhook-id"), arrivals[1].header("webhook-id"));
    assert_eq!(receiver.count("/bad"), 1);
    problem(&world.client().post(&replay, &json!({"endpoint": "nobody"})).await.unwrap(), 404);
    problem(&world.client().post(&replay, &json!({"endpoints": ["bad"]})).await.unwrap(), 422);
}

#[rstest]
#[tokio::test]
async fn what_waits_and_fits_is_called_off(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    for name in ["a", "b"] {
        receiver.always(&format!("/{name}"), Reply::Status(500));
        let more = json!({"retry": {"schedule": ["1h"]}});
        world.endpoint(&endpoint_with(name, &receiver.url(&format!("/{name}")), &more)).await;
    }
    let events: Vec<Value> = (1..=250).map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
    let cancel = |dry_run: bool| json!({"filter": {"endpoint": "a"}, "dry_run": dry_run});
    let path = "/api/v1/deliveries/cancel";
    // All have been tried once and wait for an hour.
    let (mut matched, wanted) = (json!(0), json!(250));
    receiver.wait_for("/a", 250).await;
    while matched != wanted {
        matched = world.post(path, &cancel(true)).await["matched"].clone();
    }
    let answer = world.post(path, &cancel(false)).await;
    assert_eq!(answer, json!({"matched": 250, "cancelled": 250}));
    let one = world.get("/api/v1/deliveries?endpoint=a&limit=1").await;
    assert_eq!(one[0]["status"], "cancelled");
    assert_eq!(world.post(path, &cancel(true)).await["matched"], 0);
    let others = world.get("/api/v1/deliveries?endpoint=b&status=cancelled").await;
    assert_eq!(others, json!([]));
    let unbounded = world.client().post(path, &json!({"filter": {}})).await.unwrap();
    assert_eq!(problem(&unbounded, 422)[0].0, "filter");
}

#[tokio::test]
async fn a_replay_that_is_called_off_can_be_begun_again() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    one_of_two_failed(&world, &receiver).await;
    let dead = world.get("/api/v1/dead-letters").await[0].clone();
    let path = format!("/api/v1/endpoints/{}", text(&dead, "endpoint_id"));
    let off = json!({"enabled": false});
    assert_eq!(world.client().patch(&path, &off).await.unwrap().status, 200);
    let replay = format!("/api/v1/dead-letters/{}/replay", text(&dead, "id"));
    world.post(&replay, &json!({})).await;
    let delivery = format!("/api/v1/deliveries/{}", text(&dead, "delivery_id"));
    world.eventually(&delivery, |found| found["status"] == "pending").await;
    world.post(&format!("{delivery}/cancel"), &json!({})).await;
    let on = json!({"enabled": true});
    assert_eq!(world.client().patch(&path, &on).await.unwrap().status, 200);
    world.post(&replay, &json!({})).await;
    receiver.wait_for("/bad", 2).await;
}
