//! Dead letters: permanent failures are not lost, and all of them can be replayed.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

use crate::support::{endpoint_with, invoice, problem, texts, verified};

const DEAD: &str = "/api/v1/dead-letters";

/// Starts a world whose endpoint `erp` refuses everything, with this many dead letters.
async fn with_dead(backend: Backend, count: u32) -> Option<(World, Receiver, Value)> {
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Status(500));
    let more = json!({"retry": {"schedule": ["20ms"]}});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    for n in 0..count {
        world.event(&invoice(n)).await;
    }
    world.eventually(DEAD, |found| len(found) == count as usize).await;
    Some((world, receiver, made))
}

fn len(list: &Value) -> usize {
    list.as_array().unwrap().len()
}

#[rstest]
#[tokio::test]
async fn a_dead_letter_tells_everything(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver, _)) = with_dead(backend, 1).await else { return };
    let letter = world.get(DEAD).await[0].clone();
    let shown = world.get(&format!("{DEAD}/{}", text(&letter, "id"))).await;
    assert_eq!(shown["reason"], "retries_exhausted");
    assert_eq!([&shown["endpoint"], &shown["event_type"]], ["erp", "invoice.paid"]);
    assert!(shown["detail"].as_str().is_some_and(|why| !why.is_empty()), "{shown:#}");
    assert_eq!(shown["event"]["data"]["total"], "1545.81");
    assert_eq!(len(&shown["delivery"]["attempts"]), 2);
    assert_eq!(shown["delivery"]["attempts"][1]["status"], 500);
    let id = receiver.first("/a").await.header("webhook-id").to_owned();
    assert_eq!(shown["delivery_id"], id);
}

#[rstest]
#[tokio::test]
async fn a_replay_keeps_the_id_and_takes_the_letter_away_when_it_succeeds(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver, made)) = with_dead(backend, 1).await else { return };
    receiver.always("/a", Reply::Status(200));
    let letter = text(&world.get(DEAD).await[0], "id");
    world.post(&format!("{DEAD}/{letter}/replay"), &json!({})).await;
    let arrivals = receiver.wait_for("/a", 3).await;
    assert_eq!(arrivals[2].header("webhook-id"), arrivals[0].header("webhook-id"));
    assert_eq!(arrivals[2].body, arrivals[0].body);
    assert!(verified(&arrivals[2], &text(&made, "secret")));
    world.eventually(DEAD, |found| len(found) == 0).await;
    let delivery = format!("/api/v1/deliveries/{}", arrivals[0].header("webhook-id"));
    world.eventually(&delivery, |found| found["status"] == "delivered").await;
    problem(&world.client().get(&format!("{DEAD}/{letter}")).await.unwrap(), 404);
}

#[rstest]
#[tokio::test]
async fn a_replay_that_fails_again_loses_nothing(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((mut world, receiver, _)) = with_dead(backend, 1).await else { return };
    let first = world.get(DEAD).await[0].clone();
    let path = format!("{DEAD}/{}/replay", text(&first, "id"));
    world.post(&path, &json!({})).await;
    receiver.wait_for("/a", 3).await;
    let dead_again = |found: &Value| len(found) == 1 && found[0]["replayed_at"] == Value::Null;
    let again = world.eventually(DEAD, dead_again).await;
    assert_eq!(again[0]["delivery_id"], first["delivery_id"]);

    // A replay that is killed on its way is not lost either.
    receiver.always("/a", Reply::Hang);
    let sent = receiver.count("/a");
    world.post(&format!("{DEAD}/{}/replay", text(&again[0], "id")), &json!({})).await;
    receiver.wait_for("/a", sent + 1).await;
    world.kill9();
    receiver.always("/a", Reply::Status(200));
    world.restart();
    let arrivals = receiver.wait_for("/a", sent + 2).await;
    let ids: Vec<&str> = arrivals.iter().map(|one| one.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    world.eventually(DEAD, |found| len(found) == 0).await;
}

#[rstest]
#[tokio::test]
async fn many_are_replayed_by_filter_after_a_dry_run(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver, _)) = with_dead(backend, 12).await else { return };
    world.event(&json!({"type": "invoice.created", "data": {"id": 99}})).await;
    world.eventually(DEAD, |found| len(found) == 13).await;
    receiver.always("/a", Reply::Status(200));
    let sent = receiver.count("/a");
    let replay = format!("{DEAD}/replay");
    let filter = json!({"event_type": "invoice.paid", "endpoint": "erp"});
    let dry = world.post(&replay, &json!({"filter": filter, "dry_run": true})).await;
    assert_eq!(dry, json!({"matched": 12, "replayed": 0}));
    let none = json!({"filter": {"reason": "module_trap"}});
    assert_eq!(world.post(&replay, &none).await, json!({"matched": 0, "replayed": 0}));
    for rate in [json!(0), json!(-1), json!(1e-20), json!(0.000_9), json!(1_000_001)] {
        let refused = json!({"filter": filter, "per_second": rate});
        let refused = world.client().post(&replay, &refused).await.unwrap();
        assert_eq!(problem(&refused, 422)[0].0, "per_second", "{rate}");
    }
    let done = world.post(&replay, &json!({"filter": filter, "per_second": 100})).await;
    assert_eq!(done, json!({"matched": 12, "replayed": 12}));
    let left = world.eventually(DEAD, |found| len(found) == 1).await;
    assert_eq!(left[0]["event_type"], "invoice.created");
    let mut again: Vec<String> = receiver.arrivals("/a")[sent..]
        .iter()
        .map(|one| one.header("webhook-id").to_owned())
        .collect();
    again.sort();
    again.dedup();
    assert_eq!(again.len(), 12);
    let bad = world.client().post(&replay, &json!({"filters": {}})).await.unwrap();
    assert_eq!(problem(&bad, 422)[0].0, "filters");
}

#[rstest]
#[tokio::test]
async fn letters_are_listed_exported_and_deleted(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, _receiver, _)) = with_dead(backend, 5).await else { return };
    let listed = world.get(&format!("{DEAD}?endpoint=erp&reason=retries_exhausted")).await;
    assert_eq!(len(&listed), 5);
    assert_eq!(len(&world.get(&format!("{DEAD}?event_type=lead.created")).await), 0);

    let export = world.client().get(&format!("{DEAD}/export")).await.unwrap();
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> =
        export.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(texts(&json!(lines), "id"), texts(&listed, "id"));
    assert!(lines.iter().all(|line| line["event"]["data"]["total"] == "1545.81"));

    let path = format!("{DEAD}/{}", text(&listed[0], "id"));
    assert_eq!(world.client().delete(&path).await.unwrap().status, 204);
    problem(&world.client().delete(&path).await.unwrap(), 404);
    assert_eq!(len(&world.get(DEAD).await), 4);
}

#[tokio::test]
async fn a_letter_whose_endpoint_is_gone_says_so() {
    let Some((world, _receiver, made)) = with_dead(Sqlite, 1).await else { return };
    let endpoint = format!("/api/v1/endpoints/{}", text(&made, "id"));
    assert_eq!(world.client().delete(&endpoint).await.unwrap().status, 204);
    let letter = text(&world.get(DEAD).await[0], "id");
    let replay = world.client().post(&format!("{DEAD}/{letter}/replay"), &json!({})).await;
    problem(&replay.unwrap(), 409);
    assert_eq!(len(&world.get(DEAD).await), 1, "it stays");
}
