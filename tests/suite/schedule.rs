//! Sources of kind `schedule`: an event at each time of a cron expression.

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::site::{now, time};
use waybill_tests::world::LIMIT;
use waybill_tests::{Backend, Client, Receiver, Server, World};

use crate::poll::events;
use crate::support::{endpoint_with, merged, problem};

/// Every second.
const ALWAYS: &str = "* * * * * *";

/// Each 29th of February, at midnight.
const SELDOM: &str = "0 0 29 2 *";

/// Returns settings of a schedule. `more` overrides those of the schedule itself.
fn settings(name: &str, cron: &str, more: &Value) -> Value {
    let schedule = json!({"cron": cron, "event": "report.due"});
    json!({"name": name, "kind": "schedule", "schedule": merged(schedule, more)})
}

async fn schedule(world: &World, name: &str, cron: &str, more: &Value) -> Value {
    world.post("/api/v1/sources", &settings(name, cron, more)).await
}

/// Returns the due time of an event, in seconds since 1970.
fn due(event: &Value) -> i64 {
    let text = event["data"]["scheduled_at"].as_str().unwrap_or_default();
    time::unix(text, 0).unwrap_or_else(|| panic!("no time in {event:#}"))
}

/// Waits until a schedule has fired `times` times, and returns its events in order.
async fn fired(world: &World, name: &str, times: usize) -> Vec<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = events(world, name).await;
        if found.len() >= times {
            return found;
        }
        assert!(Instant::now() < deadline, "{name} has fired {} times of {times}", found.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until it has fired `times` more times.
async fn fired_more(world: &World, name: &str, times: usize) -> Vec<Value> {
    let before = events(world, name).await.len();
    fired(world, name, before + times).await
}

/// Checks that no two were due at the same time, and that the earlier came first.
fn assert_each_once(events: &[Value]) {
    let times: Vec<i64> = events.iter().map(due).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

#[rstest]
#[tokio::test]
async fn an_event_comes_at_each_time(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let takes = json!({"events": ["report.due"]});
    world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    let begun = now();
    let more = json!({"data": {"report": "sales", "rows": [1, 2]}, "time_zone": "Europe/Athens"});
    let made = schedule(&world, "nightly", ALWAYS, &more).await;
    assert!(made["secret"].is_null(), "{made:#}");
    let found = fired(&world, "nightly", 4).await;
    assert_each_once(&found);
    for event in &found {
        let about = json!([event["type"], event["resource"], event["resource_id"]]);
        assert_eq!(about, json!(["report.due", "schedule", "nightly"]));
        assert_eq!(event["data"]["report"], "sales");
        assert_eq!(event["data"]["rows"], json!([1, 2]));
        assert!(event["data"]["missed"].is_u64(), "{event:#}");
        assert!(due(event) >= begun, "no time before it was made");
    }
    let arrivals = receiver.wait_for("/hook", 3).await;
    assert_eq!(arrivals[0].json()["payload"]["report"], "sales");
    let run = world.get("/api/v1/sources/nightly").await["run"].clone();
    assert!(run["next_at"].is_string() && run["error"].is_null(), "{run:#}");
}

#[tokio::test]
async fn five_fields_mean_minutes_and_the_next_time_is_told() {
    let Some(world) = World::start(Sqlite).await else { return };
    let zone = json!({"time_zone": "Asia/Kolkata"});
    // Some hours ahead, by a clock that is five and a half hours ahead of UTC.
    let hour = (now() / 3_600 + 8) % 24;
    schedule(&world, "daily", &format!("30 {hour} * * *"), &zone).await;
    let told = |found: &Value| found["run"]["next_at"].is_string();
    let shown = world.eventually("/api/v1/sources/daily", told).await;
    let next = time::unix(shown["run"]["next_at"].as_str().unwrap(), 0).unwrap();
    assert_eq!(next.rem_euclid(86_400), (hour - 5).rem_euclid(24) * 3_600, "{shown:#}");
    assert!((now() - 60..=now() + 86_400).contains(&next), "{shown:#}");
    assert_eq!(events(&world, "daily").await.len(), 0);
}

#[tokio::test]
async fn it_fires_when_it_is_told_to() {
    let Some(world) = World::start(Sqlite).await else { return };
    schedule(&world, "yearly", SELDOM, &json!({"data": {"report": "leap"}})).await;
    for times in 1..=2 {
        let answer = world.client().post("/api/v1/sources/yearly/run", &json!({})).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let found = fired(&world, "yearly", times).await;
        assert_eq!(found.len(), times, "once each time");
        assert_eq!(found[times - 1]["data"]["report"], "leap");
        let late = now() - due(&found[times - 1]);
        assert!((0..=LIMIT.as_secs().cast_signed()).contains(&late), "due {late} s ago");
    }
}

#[tokio::test]
async fn a_trial_shows_an_event_and_captures_none() {
    let Some(world) = World::start(Sqlite).await else { return };
    schedule(&world, "yearly", SELDOM, &json!({"data": {"report": "leap"}})).await;
    let call = Call::new(Method::POST, "/api/v1/sources/yearly/test");
    let answer = world.client().send(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let would_be = answer.data();
    assert_eq!(
        (&would_be["type"], &would_be["resource_id"]),
        (&json!("report.due"), &json!("yearly"))
    );
    assert_eq!(would_be["data"]["report"], "leap");
    assert!(would_be["data"]["scheduled_at"].is_string(), "{would_be:#}");
    assert_eq!(events(&world, "yearly").await.len(), 0);
}

#[tokio::test]
async fn a_paused_schedule_is_silent() {
    let Some(world) = World::start(Sqlite).await else { return };
    schedule(&world, "paused", ALWAYS, &json!({"missed": "skip"})).await;
    schedule(&world, "clock", ALWAYS, &json!({})).await;
    fired(&world, "paused", 1).await;
    world.post("/api/v1/sources/paused/pause", &json!({})).await;
    // One may have been under way; the other schedule shows that time passes.
    fired_more(&world, "clock", 2).await;
    let (before, from) = (events(&world, "paused").await.len(), now());
    fired_more(&world, "clock", 3).await;
    assert_eq!(events(&world, "paused").await.len(), before);
    let until = now();
    world.post("/api/v1/sources/paused/resume", &json!({})).await;
    let found = fired(&world, "paused", before + 2).await;
    assert_each_once(&found);
    let made_up = found.iter().find(|event| (from + 1..until).contains(&due(event)));
    assert_eq!(made_up, None, "what was due while it was paused is skipped");
}

#[rstest]
#[tokio::test]
async fn times_that_were_missed_are_skipped_or_made_up_for_once(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(mut world) = World::start(backend).await else { return };
    for missed in ["skip", "once"] {
        schedule(&world, missed, ALWAYS, &json!({"missed": missed, "grace": "1s"})).await;
    }
    fired(&world, "skip", 1).await;
    fired(&world, "once", 1).await;
    let mut world = tokio::task::spawn_blocking(move || {
        world.stop();
        world
    })
    .await
    .unwrap();
    let down = now();
    // Times can only be missed while no server runs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let up = now();
    world.restart();
    // Whole seconds at which no server ran.
    let missed = |event: &&Value| (down + 1..up).contains(&due(event));
    let skip = fired_more(&world, "skip", 2).await;
    assert_eq!(skip.iter().find(missed), None, "what was missed is skipped");
    assert_each_once(&skip);
    let once = fired_more(&world, "once", 1).await;
    let late: Vec<&Value> = once.iter().filter(missed).collect();
    assert!(late.len() <= 1, "made up for once: {late:#?}");
    // By the time of capture, not the due time.
    let is_late = |event: &&Value| {
        let received = time::unix(event["received_at"].as_str().unwrap(), 0).unwrap();
        received >= up && event["data"]["missed"].as_u64() >= Some(1)
    };
    assert!(once.iter().any(|event| is_late(&event)), "{once:#?}");
}

#[tokio::test]
async fn a_restart_without_a_miss_repeats_nothing() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    for missed in ["skip", "once"] {
        schedule(&world, missed, ALWAYS, &json!({"missed": missed})).await;
    }
    for _ in 0..4 {
        fired_more(&world, "once", 1).await;
        world.kill9();
        world.restart();
    }
    for name in ["skip", "once"] {
        assert_each_once(&fired_more(&world, name, 2).await);
    }
}

#[tokio::test]
async fn a_mistake_is_named_by_its_place() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (cron, more, path, says) in [
        ("61 * * * *", json!({}), "schedule.cron", "61"),
        ("* * * *", json!({}), "schedule.cron", ""),
        ("* * * * * * * *", json!({}), "schedule.cron", ""),
        ("every day", json!({}), "schedule.cron", ""),
        ("", json!({}), "schedule.cron", ""),
        ("0 0 30 2 *", json!({}), "schedule.cron", ""),
        (SELDOM, json!({"time_zone": "Mars/Olympus"}), "schedule.time_zone", "Mars/Olympus"),
        (SELDOM, json!({"event": "Not a type!"}), "schedule.event", ""),
        (SELDOM, json!({"missed": "twice"}), "schedule.missed", "skip"),
        (SELDOM, json!({"zone": "UTC"}), "schedule", "zone"),
    ] {
        let wrong = settings("x", cron, &more);
        let answer = world.client().post("/api/v1/sources", &wrong).await.unwrap();
        let faults = problem(&answer, 422);
        let named =
            |(at, message): &(String, String)| at.starts_with(path) && message.contains(says);
        assert!(faults.iter().any(named), "{wrong}: {faults:?}");
    }
    let bare = json!({"name": "x", "kind": "schedule"});
    let answer = world.client().post("/api/v1/sources", &bare).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "schedule");
    assert_eq!(world.get("/api/v1/sources").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_fire_each_time_once_and_one_goes_on_alone() {
    let Some(mut world) = World::start(Postgres).await else { return };
    let mut second = Server::start(world.settings()).unwrap();
    schedule(&world, "shared", ALWAYS, &json!({})).await;
    assert_each_once(&fired(&world, "shared", 5).await);

    // The test cannot see which of the two has the lease, so each is killed in turn: the lease
    // moves at least once.
    second.kill9();
    assert_each_once(&fired_more(&world, "shared", 3).await);
    second = Server::start(world.settings()).unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    world.kill9();
    let alone = newest(&other).await;
    let deadline = Instant::now() + LIMIT;
    while newest(&other).await == alone {
        assert!(Instant::now() < deadline, "the one that is left does not go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.restart();
    let found = fired_more(&world, "shared", 3).await;
    assert_each_once(&found);
    drop(second);
}

/// Returns the id of the newest event that a node knows.
async fn newest(client: &Client) -> Value {
    let answer = client.get("/api/v1/events?source=shared&limit=1").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.data()[0]["id"].clone()
}
