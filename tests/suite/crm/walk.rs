//! All actions of people in the CRM, step by step: each expected event is delivered, signed,
//! exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, World};

use super::fixture::{self, Step};
use super::{Crm, NEVER, announce, captured, name, run_well, settled, source};
use crate::support::{endpoint_with, verified};

/// Counts how often each text occurs.
fn counts(texts: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

/// Returns the elements of the first that the second lacks, as often as they are missing.
fn without(first: &BTreeMap<String, usize>, second: &BTreeMap<String, usize>) -> Vec<String> {
    let left = |(name, n): (&String, &usize)| {
        let more = n.saturating_sub(second.get(name).copied().unwrap_or_default());
        (more > 0).then(|| format!("{name} ({more})"))
    };
    first.iter().filter_map(left).collect()
}

/// Creates an endpoint that receives everything, including second names. Returns its secret.
async fn endpoint(world: &World, receiver: &Receiver) -> String {
    let mut events = vec!["*".to_owned()];
    events.extend(fixture::aliases());
    let all = endpoint_with("all", &receiver.url("/hook"), &json!({"events": events}));
    text(&world.endpoint(&all).await, "secret")
}

/// Runs one step after the other, with a scan after each. Returns the deviations from the expected
/// events.
async fn walk(
    world: &World,
    crm: &Crm,
    steps: &[Step],
    seen: &mut BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for step in steps {
        crm.change(&step.sql).await;
        run_well(world).await;
        let found = captured(world, seen).await;
        if found != step.expected {
            let Step { name, expected, .. } = step;
            wrong.push(format!("{name}:\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    wrong
}

/// Checks that every event has arrived, signed, once, and nothing else.
fn check_arrivals(receiver: &Receiver, secret: &str, steps: &[Step]) {
    let arrivals = receiver.arrivals("/hook");
    let mut bodies: Vec<Value> = Vec::new();
    for arrival in &arrivals {
        assert!(verified(arrival, secret), "{:?}", arrival.headers);
        let body = String::from_utf8_lossy(&arrival.body);
        assert!(!body.contains(NEVER), "{body}");
        bodies.push(arrival.json());
    }
    let expected = counts(steps.iter().flat_map(|step| step.expected.clone()));
    let arrived = counts(bodies.iter().map(name));
    let (missing, extra) = (without(&expected, &arrived), without(&arrived, &expected));
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:?}\nextra: {extra:?}");
    for key in ["id", "delivery_id"] {
        let ids: BTreeSet<String> = bodies.iter().map(|body| text(body, key)).collect();
        assert_eq!(ids.len(), arrivals.len(), "each {key} is of one event");
    }
}

/// Returns whether a file of the world contains a text: its SQLite database, if it has one.
fn is_kept(world: &World, text: &str) -> bool {
    let entries = std::fs::read_dir(world.folder()).unwrap();
    let files = entries.filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
    files.into_iter().any(|file| file.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_delivered_exactly_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let secret = endpoint(&world, &receiver).await;
    source(&world, &crm, &json!({})).await;
    let mut seen = BTreeSet::new();
    assert_eq!(captured(&world, &mut seen).await, [""; 0], "nothing follows from what was there");

    let steps = fixture::steps();
    let began = Instant::now();
    let wrong = walk(&world, &crm, &steps, &mut seen).await;
    let took = began.elapsed() / u32::try_from(steps.len()).unwrap();
    let events: usize = steps.iter().map(|step| step.expected.len()).sum();
    assert!(wrong.is_empty(), "{} of {} steps:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
    run_well(&world).await;
    assert_eq!(captured(&world, &mut seen).await, [""; 0], "nothing follows from nothing");

    receiver.wait_for("/hook", events).await;
    settled(&world).await;
    check_arrivals(&receiver, &secret, &steps);
    assert_eq!(is_kept(&world, "Kolar Metal"), backend == Sqlite, "what is read is found there");
    assert!(!is_kept(&world, NEVER), "and what must never be read is not");
    let kinds =
        steps.iter().flat_map(|step| &step.expected).filter_map(|name| name.split_once('#'));
    let kinds: BTreeSet<&str> = kinds.map(|(kind, _)| kind).collect();
    announce(&format!(
        "{backend:?}: {} steps, {events} events of {} types, all delivered exactly once; {took:?} a step",
        steps.len(),
        kinds.len()
    ));
}

#[tokio::test]
async fn an_update_tells_what_changed_and_what_was() {
    let Some(crm) = Crm::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &json!({}))).await;
    source(&world, &crm, &json!({})).await;
    crm.change("UPDATE `tblinvoices` SET `duedate` = '{today+25}' WHERE `id` = 128;").await;
    run_well(&world).await;
    let body = receiver.first("/hook").await.json();
    let moment = |text: &str| json!(crm.clock.put_into(text));
    assert_eq!(name(&body), "invoice.updated#128");
    assert_eq!((&body["source"], &body["resource"]), (&json!("crm"), &json!("invoice")));
    assert_eq!(body["changed"], json!(["duedate"]));
    assert_eq!(body["previous"], json!({"duedate": moment("{today+10}")}));
    let payload = &body["payload"];
    assert_eq!((&payload["id"], &payload["duedate"]), (&json!("128"), &moment("{today+25}")));
    assert_eq!(payload["total"], "496.00", "the whole record, every value a text");

    crm.change(
        "UPDATE `tblinvoices` SET `hash` = 'another', `duedate` = '{today+10}' WHERE `id` = 128;",
    )
    .await;
    run_well(&world).await;
    let back = receiver.wait_for("/hook", 2).await[1].json();
    assert_eq!(back["changed"], json!(["duedate"]), "a column that is not read does not count");
    assert_ne!(back["id"], body["id"], "and back is another occurrence");

    crm.change("DELETE FROM `tblinvoices` WHERE `id` = 133;").await;
    run_well(&world).await;
    let gone = receiver.wait_for("/hook", 3).await[2].json();
    assert_eq!(name(&gone), "invoice.deleted#133");
    assert!(gone.get("changed").is_none() && gone.get("previous").is_none(), "{gone:#}");
    assert_eq!(gone["payload"]["total"], "10.00", "what it last was");
}
