//! `kill -9` at any moment while rows are written: each of them is told once, under one id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, World};

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, happened_sorted, name, run_well, source};
use crate::support::{endpoint_with, verified};

/// Rows that are there before, and rows that come at each kill.
const ROWS: (u32, u32) = (300, 40);

/// One kill: while rows come one by one, the same number go, and others change, at a moment of a run.
async fn round(world: &mut World, legacy: &Arc<Legacy>, n: u32) {
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    let database = Arc::clone(legacy);
    let writer = tokio::spawn(async move {
        for at in n * ROWS.1..(n + 1) * ROWS.1 {
            let (new, gone, other) = (1_000 + at, at + 1, 10_000 + at);
            database
                .change(&format!(
                    "INSERT INTO t VALUES ('{new}-k', 1); DELETE FROM t WHERE k = '{gone}-k';
                     UPDATE t SET v = 2 WHERE k = '{other}-k';"
                ))
                .await;
        }
    });
    let after = Duration::from_micros(rand::rng().random_range(0..900_000));
    // The moment is the point of the test; nothing is expected to have happened by then.
    tokio::time::sleep(after).await;
    world.kill9();
    world.restart();
    writer.await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_repeat_nothing(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(mut world) = World::start(backend).await else { return };
    let (legacy, receiver) = (Arc::new(legacy), Receiver::start().await);
    legacy.change("CREATE TABLE t (k VARCHAR(40) PRIMARY KEY, v INT);").await;
    let rows: Vec<String> =
        (1..=ROWS.0).chain(10_000..10_000 + ROWS.0).map(|n| format!("('{n}-k', 1)")).collect();
    legacy.change(&format!("INSERT INTO t VALUES {};", rows.join(", "))).await;
    let takes = json!({"events": ["t.*"], "retry": {"schedule": vec!["20ms"; 50]}});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"every": "1s"}))).await;
    // On PostgreSQL a node waits before it takes over from a lost one, so there are fewer.
    let kills = if backend == Sqlite { 7 } else { 4 };
    for n in 0..kills {
        round(&mut world, &legacy, n).await;
    }
    run_well(&world).await;
    run_well(&world).await;
    let mut expected: Vec<String> = Vec::new();
    for n in 0..kills * ROWS.1 {
        expected.push(format!("t.created#{}-k", 1_000 + n));
        expected.push(format!("t.deleted#{}-k", 1 + n));
        expected.push(format!("t.updated#{}-k", 10_000 + n));
    }
    expected.sort();
    assert_eq!(happened_sorted(&world).await, expected);
    check_arrivals(&world, &receiver, &text(&made, "secret"), &expected).await;
}

/// Every event has come, and whatever came twice came under one id.
async fn check_arrivals(world: &World, receiver: &Receiver, secret: &str, expected: &[String]) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for arrival in receiver.arrivals("/hook") {
        assert!(verified(&arrival, secret), "{:?}", arrival.headers);
        let body = arrival.json();
        ids.entry(name(&body)).or_default().insert(text(&body, "id"));
    }
    assert!(ids.keys().eq(expected), "delivered: {:?}", ids.keys());
    let ambiguous: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(ambiguous.is_empty(), "one row under several ids: {ambiguous:?}");
}
