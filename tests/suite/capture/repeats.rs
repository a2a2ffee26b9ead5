//! Repeats of events and of requests.

use super::EVENTS;
use crate::support::{invoice, problem, texts};

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::rest::Call;
use waybill_tests::world::text;

#[rstest]
#[tokio::test]
async fn a_repeat_is_answered_with_the_first_and_causes_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = waybill_tests::Receiver::start().await;
    world.endpoint(&crate::support::endpoint("a", &receiver.url("/a"))).await;
    let event = |id: &str, source: &str| json!({"type": "invoice.paid", "id": id, "source": source, "data": {"id": 1}});
    let first = world.post(EVENTS, &event("x", "one")).await;
    world.restart();
    let again = world.post(EVENTS, &event("x", "one")).await;
    assert_eq!(again, json!({"id": first["id"], "duplicate": true}));
    let elsewhere = world.post(EVENTS, &event("x", "two")).await;
    assert_eq!(elsewhere["duplicate"], false, "an id is its source's own");
    let other = world.post(EVENTS, &event("y", "one")).await;
    assert_eq!(other["duplicate"], false);

    receiver.wait_for("/a", 3).await;
    let first = text(&first, "id");
    let trace = world.get(&format!("{EVENTS}/{first}")).await;
    assert_eq!(trace["deliveries"].as_array().unwrap().len(), 1, "{trace:#}");
    assert_eq!(world.get("/api/v1/deliveries").await.as_array().unwrap().len(), 3);
}

#[rstest]
#[tokio::test]
async fn an_idempotency_key_makes_a_request_repeatable(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let call = |key: &str, body: &Value| {
        Call::post(EVENTS, "application/json", body.to_string()).header("Idempotency-Key", key)
    };
    let body = json!([invoice(1), invoice(2)]);
    let first = world.client().send(call("k1", &body)).await.unwrap().data();
    let again = world.client().send(call("k1", &body)).await.unwrap().data();
    assert_eq!(texts(&first, "id"), texts(&again, "id"));
    assert!(again.as_array().unwrap().iter().all(|one| one["duplicate"] == true), "{again:#}");
    let other = world.client().send(call("k2", &body)).await.unwrap().data();
    assert!(other.as_array().unwrap().iter().all(|one| one["duplicate"] == false), "{other:#}");
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 4);
}

/// The same key with another request is a mistake of the client
/// (draft-ietf-httpapi-idempotency-key-header, 2.7): if it were answered as a repeat, the second
/// event would be lost.
#[rstest]
#[tokio::test]
async fn an_idempotency_key_is_bound_to_its_request(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let call = |key: &str, body: &Value| {
        Call::post(EVENTS, "application/json", body.to_string()).header("Idempotency-Key", key)
    };
    let (one, two) = (invoice(1), invoice(2));
    let first = world.client().send(call("key-1", &one)).await.unwrap().data();
    world.restart();
    for other in [two.clone(), json!([one]), json!([one, two]), json!([two, one, two])] {
        let answer = world.client().send(call("key-1", &other)).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, "Idempotency-Key", "{other}");
    }
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 1, "nothing half done");
    let again = world.client().send(call("key-1", &one)).await.unwrap().data();
    assert_eq!(again, json!({"id": first["id"], "duplicate": true}));

    // A second event of an array differs from a key that looks like it.
    world.client().send(call("k", &json!([one, two]))).await.unwrap();
    let looks_like_it = world.client().send(call("1 k", &one)).await.unwrap();
    assert_eq!(looks_like_it.data()["duplicate"], false, "{}", looks_like_it.text());

    // The attributes of CloudEvents in headers belong to the request.
    let binary = |event_type: &str| {
        let headers = [("ce-specversion", "1.0"), ("ce-source", "/p"), ("ce-type", event_type)];
        let call = call("ce", &json!({"n": 1})).header("ce-id", event_type);
        headers.into_iter().fold(call, |call, (name, value)| call.header(name, value))
    };
    assert_eq!(world.client().send(binary("a.b")).await.unwrap().data()["duplicate"], false);
    problem(&world.client().send(binary("a.c")).await.unwrap(), 422);

    // A repeat by its own id binds the key too.
    let known = json!({"type": "a.b", "id": "x", "data": {}});
    world.event(&known).await;
    assert_eq!(world.client().send(call("k3", &known)).await.unwrap().data()["duplicate"], true);
    problem(&world.client().send(call("k3", &two)).await.unwrap(), 422);
}

#[rstest]
#[tokio::test]
async fn of_different_requests_at_once_under_one_key_one_is_taken(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let posts = (0..16).map(|n| {
        let body = json!([invoice(n), invoice(n)]).to_string();
        let call = Call::post(EVENTS, "application/json", body).header("Idempotency-Key", "k");
        world.client().send(call)
    });
    let answers = futures_util::future::join_all(posts).await;
    let statuses: Vec<u16> = answers.iter().map(|a| a.as_ref().unwrap().status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 15, "{statuses:?}");
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 2, "no request is half done");
}

#[rstest]
#[tokio::test]
async fn of_many_repeats_at_once_one_is_the_first(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let event = json!({"type": "invoice.paid", "id": "same", "data": {}});
    let posts = (0..32).map(|_| world.client().post(EVENTS, &event));
    let receipts: Vec<Value> = futures_util::future::join_all(posts)
        .await
        .into_iter()
        .map(|a| a.unwrap().data())
        .collect();
    let firsts = receipts.iter().filter(|receipt| receipt["duplicate"] == false).count();
    assert_eq!(firsts, 1, "{receipts:#?}");
    assert!(receipts.iter().all(|receipt| receipt["id"] == receipts[0]["id"]));
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 1);
}
