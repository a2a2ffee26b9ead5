//! `kill -9` at any moment while people work in the CRM: their committed changes are delivered,
//! under one id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Stopped, World};

use super::{Crm, SOURCE, announce, happened, name, run_well, settled, source};
use crate::support::{endpoint_with, verified};

/// The first lead that is added during the kills.
const FIRST: u32 = 1_000;

/// Number of leads added at each kill.
const LEADS: u32 = 30;

/// Runs one kill at a moment of a scan, while leads are added one by one.
async fn round(world: &mut World, crm: &Arc<Crm>, first: u32) {
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    let crm = Arc::clone(crm);
    let writer = tokio::spawn(async move {
        for id in first..first + LEADS {
            crm.lead(id).await;
        }
    });
    let after = Duration::from_micros(rand::rng().random_range(0..600_000));
    // The test needs a random moment, so it does not wait for a condition.
    tokio::time::sleep(after).await;
    world.kill9();
    world.restart();
    writer.await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_repeat_nothing(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(crm) = Crm::start().await else { return };
    let Some(mut world) = World::start(backend).await else { return };
    let (crm, receiver) = (Arc::new(crm), Receiver::start().await);
    let takes = json!({"events": ["lead.*"], "retry": {"schedule": vec!["20ms"; 50]}});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    source(&world, &crm, &json!({"every": "1s"})).await;
    // On PostgreSQL a node waits before it takes over from a lost one, so there are fewer.
    let kills = if backend == Sqlite { 10 } else { 4 };
    for n in 0..kills {
        round(&mut world, &crm, FIRST + n * LEADS).await;
    }
    run_well(&world).await;
    let leads = FIRST..FIRST + kills * LEADS;
    let mut expected: Vec<String> = leads.map(|id| format!("lead.created#{id}")).collect();
    expected.sort();
    let found = happened(&world).await;
    let lost: Vec<&String> = expected.iter().filter(|one| !found.contains(one)).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), expected.len());
    assert_eq!(found, expected, "some came twice, or should not have come");

    settled(&world).await;
    check_arrivals(&receiver, &text(&made, "secret"), &expected);
    let arrivals = receiver.count("/hook");
    announce(&format!(
        "{backend:?}: {kills} kills, {} leads, {arrivals} deliveries, none lost, each under one id",
        expected.len()
    ));
}

/// There must be no moment between an event and the row from which it follows.
#[tokio::test]
async fn a_kill_while_rows_are_kept_leaves_no_event_without_its_row() {
    let Some(crm) = Crm::start().await else { return };
    let Some(mut world) = World::start(Postgres).await else { return };
    source(&world, &crm, &json!({})).await;
    for id in [1_000, 1_001] {
        crm.lead(id).await;
    }
    let mut stopped = Stopped::at(&world.settings().database, "source_row").await.unwrap();
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    stopped.is_awaited().await.unwrap();
    world.kill9();
    crm.change(
        "DELETE FROM `tblleads` WHERE `id` = 1000; \
         UPDATE `tblleads` SET `company` = 'Another' WHERE `id` = 1001;",
    )
    .await;
    drop(stopped);
    world.restart();
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["lead.created#1001"], "lead 1000 came and went unseen");
}

/// Checks that every event has arrived, and that repeats have the same id.
fn check_arrivals(receiver: &Receiver, secret: &str, expected: &[String]) {
    let mut ids: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for arrival in receiver.arrivals("/hook") {
        assert!(verified(&arrival, secret), "{:?}", arrival.headers);
        let body = arrival.json();
        let id = (text(&body, "id"), arrival.header("webhook-id").to_owned());
        ids.entry(name(&body)).or_default().insert(id);
    }
    assert!(ids.keys().eq(expected), "delivered: {:?}", ids.keys());
    let ambiguous: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(ambiguous.is_empty(), "one lead under several ids: {ambiguous:?}");
}
