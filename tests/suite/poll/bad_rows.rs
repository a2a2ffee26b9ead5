//! A row that cannot be read is set aside by name, and does not block any other.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::site::now;
use waybill_tests::world::text;
use waybill_tests::{Dialect, Fault, Receiver, Site, World};

use super::{SOURCE, happened, poll, put, row, run, run_well, source};
use crate::support::{endpoint, endpoint_with, problem, texts};

const DEAD: &str = "/api/v1/dead-letters";

fn sorted(letters: &Value, field: &str) -> Vec<String> {
    let mut found = texts(letters, field);
    found.sort();
    found
}

#[rstest]
#[tokio::test]
async fn broken_rows_are_set_aside_and_read_again_on_request(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    put(&site, [1], now());
    source(&world, &poll(&site)).await;
    let stamp = site.stamp(now());
    let mut body = format!(
        r#"{{"data":[{{"id":"2","datecreated":"{stamp}","name":"\ud83d"}},
            {{"id":3,"datecreated":"{stamp}","name":"fine"}},
            {{"id":4,"datecreated":"{stamp}","name":"caf"#
    )
    .into_bytes();
    body.extend(b"\xe9\"}]}");
    site.fail(usize::MAX, Fault::Exactly(body));
    let run = run_well(&world).await;
    assert!(run["warnings"].to_string().contains("set aside"), "{run:#}");
    assert_eq!(happened(&world).await, ["created 3"]);
    let letters = world.get(&format!("{DEAD}?source={SOURCE}&kind=row")).await;
    assert_eq!(sorted(&letters, "row"), ["2", "4"], "{letters:#}");
    for letter in letters.as_array().unwrap() {
        let said = ["kind", "source", "list", "reason"].map(|field| letter[field].as_str());
        assert_eq!(said, ["row", SOURCE, "invoices", "row_unreadable"].map(Some));
        assert_eq!((&letter["event_id"], &letter["endpoint"]), (&Value::Null, &Value::Null));
        let shown = world.get(&format!("{DEAD}/{}", text(letter, "id"))).await;
        assert_eq!((&shown["row"], &shown["event"]), (&letter["row"], &Value::Null));
    }
    assert_eq!(world.get(&format!("{DEAD}?kind=delivery")).await, json!([]));
    assert_eq!(world.get(&format!("{DEAD}?reason=gone")).await, json!([]));
    assert_eq!(world.get(&format!("{DEAD}?status=dead")).await, json!([]));
    let unknown = world.client().get(&format!("{DEAD}?source=nobody")).await.unwrap();
    problem(&unknown, 404);
    let export = world.client().get(&format!("{DEAD}/export?kind=row")).await.unwrap().text();
    assert_eq!(export.lines().count(), 2, "{export}");

    run_well(&world).await;
    let again = world.get(DEAD).await;
    assert_eq!(sorted(&again, "id"), sorted(&letters, "id"), "a row has one dead letter");

    site.heal();
    put(&site, [3], now());
    site.put("invoices", 2, row(&site, 2, now(), "2.00"));
    let of = |id: &str| {
        let letter = letters.as_array().unwrap().iter().find(|letter| letter["row"] == id);
        text(letter.unwrap(), "id")
    };
    world.post(&format!("{DEAD}/{}/replay", of("2")), &json!({})).await;
    let left = world.eventually(DEAD, |found| found.as_array().unwrap().len() == 1).await;
    assert_eq!(left[0]["row"], "4");
    assert!(happened(&world).await.contains(&"created 2".to_owned()));
    let deleted = world.client().delete(&format!("{DEAD}/{}", of("4"))).await.unwrap();
    assert_eq!(deleted.status, 204);
    run_well(&world).await;
    assert_eq!(world.get(DEAD).await, json!([]));
}

/// The replay of a row that is older than the usual range extends the range.
#[tokio::test]
async fn a_replay_asks_for_rows_from_when_the_row_is() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    run_well(&world).await;
    let old = now() - 40 * 86_400;
    let stamp = site.stamp(old);
    let body = format!(r#"{{"data":[{{"id":"7","datecreated":"{stamp}","name":"\udc00"}}]}}"#);
    site.fail(usize::MAX, Fault::Exactly(body.into_bytes()));
    run_well(&world).await;
    site.heal();
    put(&site, [8], now());
    site.put("invoices", 7, row(&site, 7, old, "7.00"));
    run_well(&world).await;
    let told = happened(&world).await;
    assert_eq!(told, ["created 1", "created 8"], "the other one is too old to be asked for");
    let letter = world.get(DEAD).await[0].clone();
    assert_eq!(letter["row"], "7");
    let replayed = world.post(&format!("{DEAD}/replay"), &json!({"filter": {"kind": "row"}})).await;
    assert_eq!(replayed["replayed"], 1, "{replayed:#}");
    world.eventually(DEAD, |found| *found == json!([])).await;
    assert_eq!(happened(&world).await, ["created 1", "created 8", "created 7"]);
}

#[tokio::test]
async fn a_new_row_that_was_no_event_is_created_once_it_can_be_one() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    let deep: Value =
        serde_json::from_str(&format!("{}{}", "[".repeat(110), "]".repeat(110))).unwrap();
    let mut bad = row(&site, 5, now(), "5.00");
    bad["deep"] = deep;
    site.put("invoices", 5, bad);
    put(&site, [6], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 6"]);
    let letter = world.get(DEAD).await[0].clone();
    assert_eq!((&letter["row"], &letter["reason"]), (&json!("5"), &json!("row_invalid")));
    run_well(&world).await;
    assert_eq!(world.get(DEAD).await[0]["id"], letter["id"], "it is still not told");
    world.post(&format!("{DEAD}/{}/replay", text(&letter, "id")), &json!({})).await;
    let path = format!("{DEAD}/{}", text(&letter, "id"));
    world.eventually(&path, |found| found["replayed_at"] == Value::Null).await;
    put(&site, [5], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 6", "created 5"]);
    assert_eq!(world.get(DEAD).await, json!([]));
}

/// A receiver that knows a record must not be told that it is new.
#[tokio::test]
async fn a_known_row_that_was_replayed_in_vain_is_updated_once_it_is_mended() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [6], now());
    site.put("invoices", 5, row(&site, 5, now(), "5.00"));
    run_well(&world).await;
    let mut told = happened(&world).await;
    told.sort();
    assert_eq!(told, ["created 5", "created 6"]);
    let mut bad = row(&site, 5, now(), "5.50");
    bad["deep"] = serde_json::from_str(&format!("{}{}", "[".repeat(110), "]".repeat(110))).unwrap();
    site.put("invoices", 5, bad);
    run_well(&world).await;
    let letter = world.get(DEAD).await[0].clone();
    assert_eq!((&letter["row"], &letter["reason"]), (&json!("5"), &json!("row_invalid")));
    let path = format!("{DEAD}/{}", text(&letter, "id"));
    world.post(&format!("{path}/replay"), &json!({})).await;
    world.eventually(&path, |found| found["replayed_at"] == Value::Null).await;
    assert_eq!(happened(&world).await.len(), 2, "the replay came to nothing");
    site.put("invoices", 5, row(&site, 5, now(), "6.00"));
    run_well(&world).await;
    assert_eq!(happened(&world).await[2..], ["updated 5"]);
    assert_eq!(world.get(DEAD).await, json!([]));
}

#[tokio::test]
async fn rows_that_make_no_event_beyond_the_most_are_left_to_the_next_run() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    put(&site, [1], now());
    source(&world, &poll(&site)).await;
    let deep: Value =
        serde_json::from_str(&format!("{}{}", "[".repeat(110), "]".repeat(110))).unwrap();
    let bad: Vec<u32> = (1_001..=1_130).collect();
    for id in &bad {
        let mut broken = row(&site, *id, now(), "5.00");
        broken["deep"] = deep.clone();
        site.put("invoices", *id, broken);
    }
    let letters = format!("{DEAD}?kind=row&limit=200");
    let first = run(&world, SOURCE).await;
    let why = first["error"].as_str().unwrap();
    assert!(why.contains("more than 100 rows cannot be read"), "{first:#}");
    assert_eq!(world.get(&letters).await.as_array().unwrap().len(), 100);
    run_well(&world).await;
    let mut named = sorted(&world.get(&letters).await, "row");
    named.dedup();
    assert_eq!(named.len(), bad.len(), "each row has its dead letter: {named:?}");
}

/// A row that could not be read is a gap at each endpoint that takes events of its list.
#[rstest]
#[tokio::test]
async fn a_row_that_is_set_aside_is_a_gap_until_it_is_read(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint("erp", &receiver.url("/erp"))).await;
    let leads = json!({"events": ["lead.*"]});
    world.endpoint(&endpoint_with("leads", &receiver.url("/leads"), &leads)).await;
    put(&site, [1], now());
    source(&world, &poll(&site)).await;
    let stamp = site.stamp(now());
    let body = format!(r#"{{"data":[{{"id":"2","datecreated":"{stamp}","name":"\ud83d"}}]}}"#);
    site.fail(usize::MAX, Fault::Exactly(body.into_bytes()));
    run_well(&world).await;
    let path = "/api/v1/completeness?endpoint=erp";
    let found = world.get(path).await;
    assert_eq!((&found["state"], &found["counts"]["unread_rows"]), (&json!("gaps"), &json!(1)));
    let gap = &found["gaps"][0];
    assert_eq!([&gap["kind"], &gap["list"], &gap["resource_id"]], ["unread_row", "invoices", "2"]);
    assert_eq!([&found["sources"][0]["source"], &found["sources"][0]["kind"]], [SOURCE, "poll"]);
    assert!(found["sources"][0]["read_until"].is_string(), "{found:#}");
    let others = world.get("/api/v1/completeness?endpoint=leads").await;
    assert_eq!(others["counts"]["unread_rows"], 0, "it takes no invoices");

    site.heal();
    site.put("invoices", 2, row(&site, 2, now(), "2.00"));
    let send = json!({"endpoint": "erp", "day": found["day"], "count": found["sendable"]});
    let sent = world.post("/api/v1/completeness/send", &send).await;
    assert_eq!(sent["rows"], 1, "{sent:#}");
    receiver.first("/erp").await;
    world.eventually(path, |found| found["state"] == "complete").await;
    assert_eq!(world.get(DEAD).await, json!([]));
}
