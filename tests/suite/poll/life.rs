//! Restarts and kills, pause and resume, trials, several nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::site::{KEY, now};
use waybill_tests::world::{LIMIT, text};
use waybill_tests::{Backend, Client, Dialect, Receiver, Server, Site, Stopped, World};

use super::{SOURCE, assert_created_once, happened, names, poll, put, row, run, run_well, source};
use crate::support::{announce, endpoint_with, merged, problem, seed};

/// Number of rows before the kills begin, and of rows that come during them.
const ROWS: (u32, u32) = (350, 300);

#[rstest]
#[tokio::test]
async fn a_restart_changes_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(Dialect::DataBuilder, Dialect::Perfexapi)] dialect: Dialect,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let site = Site::start(dialect).await;
    put(&site, [1], now() - 5);
    source(&world, &poll(&site)).await;
    put(&site, 2..=3, now());
    run_well(&world).await;
    world.stop();
    let (list, _) = names(&site);
    site.put(list, 2, row(&site, 2, now(), "9.00"));
    put(&site, [4], now());
    world.restart();
    run_well(&world).await;
    run_well(&world).await;
    let mut found = happened(&world).await;
    found.sort();
    assert_eq!(found, ["created 2", "created 3", "created 4", "updated 2"]);
}

/// Adds some rows with each request, until there are enough.
fn grow(site: &Site) {
    let (list, _) = names(site);
    let key = if site.dialect() == Dialect::Custom { "number" } else { "id" };
    let template = row(site, 0, now(), "5.00");
    let mut next = ROWS.0 + 1..=ROWS.0 + ROWS.1;
    site.before_answers(move |rows, _| {
        for id in next.by_ref().take(3) {
            let mut row = template.clone();
            row[key] = json!(id);
            rows.put(list, id, row);
        }
    });
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_repeat_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(Dialect::DataBuilder, Dialect::Perfexapi)] dialect: Dialect,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let (site, receiver) = (Site::start(dialect).await, Receiver::start().await);
    let takes = json!({"retry": {"schedule": vec!["20ms"; 50]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    source(&world, &merged(poll(&site), &json!({"every": "1s"}))).await;
    put(&site, 1..=ROWS.0, now());
    grow(&site);
    let seed = seed();
    announce(&format!("{backend:?}, {dialect:?}: WAYBILL_CRASH_SEED={seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    // On PostgreSQL a node waits before it takes over from a lost one, so there are fewer.
    let kills = if backend == Sqlite { 10 } else { 4 };
    for _ in 0..kills {
        let (requests, after) = (random.random_range(1..6), random.random_range(0..60));
        site.wait_for(site.count() + requests).await;
        // The test needs a random moment, so it does not wait for a condition.
        tokio::time::sleep(Duration::from_millis(after)).await;
        world.kill9();
        world.restart();
    }
    let all = ROWS.0 + ROWS.1;
    // After this many requests all of them exist.
    site.wait_for(ROWS.1 as usize / 3 + 20).await;
    run_well(&world).await;
    run_well(&world).await;
    assert_created_once(&world, 1..=all).await;
    let settled = |found: &Value| *found == json!([]);
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, settled).await;
    }
    let mut sent: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for arrival in receiver.arrivals("/hook") {
        let body = arrival.json();
        sent.entry(text(&body, "resource_id")).or_default().insert(text(&body, "id"));
    }
    assert_eq!(sent.len(), all as usize, "each row was sent");
    let ambiguous: Vec<_> = sent.iter().filter(|(_, events)| events.len() != 1).collect();
    assert!(ambiguous.is_empty(), "one row in several events: {ambiguous:?}");
}

/// There must be no moment between an event and the row from which it follows.
#[tokio::test]
async fn a_kill_while_rows_are_kept_tells_no_row_twice() {
    let Some(mut world) = World::start(Postgres).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    let mut stopped = Stopped::at(&world.settings().database, "source_row").await.unwrap();
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    stopped.is_awaited().await.unwrap();
    world.kill9();
    let (list, _) = names(&site);
    site.put(list, 1, row(&site, 1, now(), "9.00"));
    drop(stopped);
    world.restart();
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1"]);
}

#[tokio::test]
async fn a_paused_source_asks_nobody() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    let other = Site::start(Dialect::DataBuilder).await;
    let often = json!({"every": "1s"});
    source(&world, &merged(poll(&site), &often)).await;
    let clock = merged(poll(&other), &often);
    let clock = json!({"name": "clock", "kind": "poll", "secret": KEY, "poll": clock});
    world.post("/api/v1/sources", &clock).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    site.wait_for(site.count() + 2).await;

    let paused = world.post(&format!("{path}/pause"), &json!({})).await;
    assert_eq!(paused["enabled"], false);
    // A run may have begun at that moment; the other source shows that time passes.
    other.wait_for(other.count() + 2).await;
    world.eventually(&path, |found| found["run"]["running"] != json!(true)).await;
    put(&site, [1], now());
    let asked = site.count();
    other.wait_for(other.count() + 3).await;
    assert_eq!(site.count(), asked, "nothing is asked for while it is paused");
    assert_eq!(happened(&world).await, [""; 0]);

    world.post(&format!("{path}/resume"), &json!({})).await;
    let first = format!("/api/v1/events?source={SOURCE}");
    world.eventually(&first, |found| found[0]["resource_id"] == "1").await;
}

#[rstest]
#[tokio::test]
async fn a_trial_shows_an_event_and_leaves_no_trace(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    let (_, resource) = names(&site);
    source(&world, &poll(&site)).await;
    put(&site, [7], now());
    let before = world.get(&format!("/api/v1/sources/{SOURCE}")).await["run"].clone();
    let path = format!("/api/v1/sources/{SOURCE}/test");
    for _ in 0..2 {
        let answer = world.client().send(Call::new(Method::POST, &path)).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let would_be = answer.data();
        assert_eq!(would_be["type"], format!("{resource}.created"), "{would_be:#}");
        assert_eq!(would_be["resource_id"], "7");
        assert_eq!(would_be["data"]["total"], "5.00");
    }
    assert_eq!(happened(&world).await, [""; 0], "a trial captures nothing");
    let after = world.get(&format!("/api/v1/sources/{SOURCE}")).await["run"].clone();
    assert_eq!(after["finished_at"], before["finished_at"], "and is no run");
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 7"], "it is still new");

    site.lock_with("another");
    let refused = world.client().send(Call::new(Method::POST, &path)).await.unwrap();
    assert!(!refused.status.is_success(), "{}", refused.text());
    assert!(refused.text().contains("401") && !refused.text().contains(KEY), "{}", refused.text());
}

#[rstest]
#[tokio::test]
async fn a_source_that_is_made_anew_begins_anew(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    run_well(&world).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    assert_eq!(world.client().delete(&path).await.unwrap().status, StatusCode::NO_CONTENT);
    put(&site, [2], now());
    source(&world, &poll(&site)).await;
    put(&site, [3], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1", "created 3"]);
}

#[tokio::test]
async fn two_nodes_share_the_work() {
    let Some(world) = World::start(Postgres).await else { return };
    let second = Server::start(world.settings()).unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    // The other node learns of the source in a moment.
    let deadline = Instant::now() + LIMIT;
    while other.get(&path).await.unwrap().status != StatusCode::OK {
        assert!(Instant::now() < deadline, "the other node knows of no source");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Either node may have the lease: asking one of them runs the source, and asking both sends
    // nothing twice.
    for id in 1..=10 {
        put(&site, [id * 2], now());
        put(&site, [id * 2 + 1], now());
        let run = format!("{path}/run");
        if id % 3 != 0 {
            assert_eq!(other.post(&run, &json!({})).await.unwrap().status, StatusCode::ACCEPTED);
        }
        if id % 3 != 1 {
            world.post(&run, &json!({})).await;
        }
        let newest = format!("/api/v1/events?source={SOURCE}&resource_id={}", id * 2 + 1);
        world.eventually(&newest, |found| *found != json!([])).await;
    }
    run(&world, SOURCE).await;
    assert_created_once(&world, 2..=21).await;
    let shown = other.get(&path).await.unwrap().data();
    assert!(shown["run"]["finished_at"].is_string(), "both can tell: {shown:#}");
}

#[tokio::test]
async fn only_public_addresses_are_asked_unless_the_configuration_allows_more() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.set("delivery.allow_networks", "[]");
    })
    .await
    else {
        return;
    };
    let site = Site::start(Dialect::DataBuilder).await;
    let port = site.url().rsplit(':').next().unwrap().to_owned();
    for (n, host) in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"].iter().enumerate() {
        let settings = merged(poll(&site), &json!({"url": format!("http://{host}:{port}")}));
        let name = format!("crm-{n}");
        let settings = json!({"name": name, "kind": "poll", "secret": KEY, "poll": settings});
        let made = world.client().post("/api/v1/sources", &settings).await.unwrap();
        if made.status != StatusCode::CREATED {
            assert_eq!(problem(&made, 422)[0].0, "poll.url");
            continue;
        }
        let report = run(&world, &name).await;
        let error = report["error"].as_str().unwrap_or_default();
        assert!(error.contains("allow_networks"), "{host}: {report:#}");
    }
    assert_eq!(site.count(), 0);
}
