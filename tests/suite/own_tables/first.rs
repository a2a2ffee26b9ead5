//! The beginning of a source: existing rows cause no events, or all of them do, and rows that come
//! during the first run always do.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::world::text;

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, first_run, happened, happened_sorted, run_well, source};
use crate::poll;
use crate::support::merged;

/// Inserts rows with these numbers.
async fn fill(legacy: &Legacy, numbers: impl Iterator<Item = i32>) {
    let rows: Vec<String> = numbers.map(|n| format!("({n}, 'row {n}')")).collect();
    legacy.change(&format!("INSERT INTO orders VALUES {};", rows.join(", "))).await;
}

async fn start(engine: Engine) -> Option<Legacy> {
    let legacy = Legacy::start(engine).await?;
    legacy.change("CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(50));").await;
    fill(&legacy, 1..=400).await;
    Some(legacy)
}

/// Returns settings by which the first run pauses for long after the first rows.
fn slowly(legacy: &Legacy) -> Value {
    legacy.settings(&json!(["orders"]), &json!({"pause": "4s"}))
}

/// Waits until the first run pauses.
async fn rests(world: &World) {
    let path = format!("/api/v1/sources/{SOURCE}");
    let rests = |found: &Value| found["run"]["progress"]["table"] == "orders";
    world.eventually(&path, rests).await;
}

/// Lets the source read without a pause.
async fn hurry(world: &World, legacy: &Legacy) {
    let settings = legacy.settings(&json!(["orders"]), &json!({"pause": "0s"}));
    let path = format!("/api/v1/sources/{SOURCE}");
    let change = json!({"database": settings["database"]});
    let changed = world.client().patch(&path, &change).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
}

#[rstest]
#[tokio::test]
async fn rows_that_come_while_the_first_run_reads_are_news(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(false, true)] killed: bool,
) {
    let Some(legacy) = start(engine).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    world.post("/api/v1/sources", &slowly(&legacy)).await;
    rests(&world).await;
    fill(&legacy, [-7, 900].into_iter()).await;
    legacy.change("DELETE FROM orders WHERE id IN (2, 399);").await;
    if killed {
        world.kill9();
        world.restart();
    }
    hurry(&world, &legacy).await;
    run_well(&world).await;
    run_well(&world).await;
    let wanted =
        ["orders.created#-7", "orders.created#900", "orders.deleted#2", "orders.deleted#399"];
    assert_eq!(happened_sorted(&world).await, wanted);
    // Only the key is known of a row whose content was not read before it was deleted.
    let page = poll::events(&world, SOURCE).await;
    let gone = page.iter().find(|event| event["resource_id"] == "399").unwrap();
    let gone = world.get(&format!("/api/v1/events/{}", text(gone, "id"))).await;
    assert_eq!(gone["data"], json!({"id": 399}), "{gone:#}");
}

#[rstest]
#[tokio::test]
async fn noting_that_is_cut_off_begins_anew(#[values(Postgre, Maria)] engine: Engine) {
    let Some(legacy) = start(engine).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    // So many that reading their keys takes more than one query.
    fill(&legacy, 401..=7_000).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    world.post("/api/v1/sources", &slowly(&legacy)).await;
    world.eventually(&path, |found| found["run"]["started_at"].is_string()).await;
    world.kill9();
    legacy.change("DELETE FROM orders WHERE id = 3;").await;
    world.restart();
    hurry(&world, &legacy).await;
    run_well(&world).await;
    fill(&legacy, [9_000].into_iter()).await;
    run_well(&world).await;
    let found = happened(&world).await;
    // The first process may have stored all of them before it was killed.
    let found: Vec<&String> = found.iter().filter(|name| **name != "orders.deleted#3").collect();
    assert_eq!(found, ["orders.created#9000"]);
}

#[rstest]
#[tokio::test]
async fn a_backfill_tells_of_each_row_once(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = start(engine).await else { return };
    let Some(world) = World::start(backend).await else { return };
    source(&world, &legacy.settings(&json!(["orders"]), &json!({"start": "backfill"}))).await;
    let mut expected: Vec<String> = (1..=400).map(|n| format!("orders.created#{n}")).collect();
    expected.sort();
    assert_eq!(happened_sorted(&world).await, expected);
    run_well(&world).await;
    assert_eq!(happened(&world).await.len(), 400, "nothing again");
    hurry(&world, &legacy).await;
    legacy.change("DELETE FROM orders WHERE id = 17;").await;
    run_well(&world).await;
    assert_eq!(happened(&world).await.last().unwrap(), "orders.deleted#17");
    assert_eq!(happened(&world).await.len(), 401);
}

#[rstest]
#[tokio::test]
async fn an_emptied_table_is_empty_and_many_tables_are_read(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE others (id INT PRIMARY KEY, note VARCHAR(50));").await;
    let settings = legacy.settings(&json!(["orders", "others"]), &json!({}));
    let run = first_run(&world, &settings).await;
    assert_eq!(run["rows"], 400, "{run:#}");
    legacy.change("DELETE FROM orders; INSERT INTO others VALUES (1, 'x');").await;
    run_well(&world).await;
    let mut expected: Vec<String> = (1..=400).map(|n| format!("orders.deleted#{n}")).collect();
    expected.push("others.created#1".to_owned());
    expected.sort();
    assert_eq!(happened_sorted(&world).await, expected);
}

#[rstest]
#[tokio::test]
async fn a_trial_shows_an_event_and_leaves_no_trace(#[values(Postgre, Maria)] engine: Engine) {
    let Some(legacy) = start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = legacy.settings(&json!(["orders"]), &json!({}));
    world.post("/api/v1/sources", &merged(settings, &json!({"enabled": false}))).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    let would_be = world.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!(would_be["type"], "orders.created", "{would_be:#}");
    assert_eq!(would_be["data"], json!({"id": 400, "note": "row 400"}), "{would_be:#}");
    assert_eq!(happened(&world).await, [""; 0]);
    world.post(&format!("{path}/resume"), &json!({})).await;
    world.eventually(&path, |found| found["run"]["finished_at"].is_string()).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, [""; 0], "the first run is still the first");
}
