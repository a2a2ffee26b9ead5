//! Sources of kind `poll`: rows of another system's REST API become events, each once.

mod bad_rows;
mod faults;
mod hard;
mod life;
mod order;
mod settings;

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::site::{KEY, now, time};
use waybill_tests::{Backend, Dialect, Receiver, Site, World};

use crate::support::{endpoint_with, merged};

/// The source's name.
const SOURCE: &str = "crm";

/// The day of old rows: 2024-01-02.
const LONG_AGO: i64 = 1_704_153_600;

/// Returns the list that the tests fill, and the name of its rows in events.
fn names(site: &Site) -> (&'static str, &'static str) {
    match site.dialect() {
        Dialect::Custom => ("orders", "order"),
        Dialect::DataBuilder | Dialect::Themesic | Dialect::Perfexapi => ("invoices", "invoice"),
    }
}

/// Returns the `poll` of a source that asks this site once an hour, or on request.
fn poll(site: &Site) -> Value {
    let preset = match site.dialect() {
        Dialect::DataBuilder => "data-builder",
        Dialect::Themesic => "themesic",
        Dialect::Perfexapi => "perfexapi",
        Dialect::Custom => return custom(site),
    };
    json!({"preset": preset, "url": site.url(), "lists": ["invoices"], "every": "1h"})
}

fn custom(site: &Site) -> Value {
    json!({
        "url": format!("{}/erp", site.url()), "every": "1h",
        "lists": [{
            "path": "/orders", "resource": "order", "created": "order.created", "updated": "order.updated",
            "rows": "/result/items", "key": "number", "timestamp": "modified",
        }],
        "auth": {"header": "X-Token", "prefix": ""},
        "since": {"parameter": "changed_after", "format": "iso"},
        "paging": {"page": "p", "size": "n", "rows": 40},
    })
}

/// Returns a row with this number and time in the site's form.
fn row(site: &Site, id: u32, at: i64, total: &str) -> Value {
    let stamp = site.stamp(at);
    match site.dialect() {
        // All of its values are texts.
        Dialect::Themesic => {
            json!({"id": id.to_string(), "total": total, "date": site.day(at), "datecreated": stamp})
        }
        Dialect::DataBuilder | Dialect::Perfexapi => {
            json!({"id": id, "total": total, "datecreated": stamp})
        }
        Dialect::Custom => {
            json!({"number": id.to_string(), "total": total, "modified": time::iso(at)})
        }
    }
}

/// Inserts rows with these numbers and this time.
fn put(site: &Site, ids: impl IntoIterator<Item = u32>, at: i64) {
    let (list, _) = names(site);
    for id in ids {
        site.put(list, id, row(site, id, at, "5.00"));
    }
}

/// Creates the source and runs it for the first time.
async fn source(world: &World, poll: &Value) -> Value {
    let settings = json!({"name": SOURCE, "kind": "poll", "secret": KEY, "poll": poll});
    let made = world.client().post("/api/v1/sources", &settings).await.unwrap();
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    run(world, SOURCE).await;
    made.data()
}

/// Runs a source and waits for the end of a run that began after the call. Returns its `run`.
pub(crate) async fn run(world: &World, source: &str) -> Value {
    let path = format!("/api/v1/sources/{source}");
    let rests = |found: &Value| found["run"]["running"] != json!(true);
    let before = world.eventually(&path, rests).await["run"]["started_at"].clone();
    let answer = world.client().post(&format!("{path}/run"), &json!({})).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let done = |found: &Value| {
        let run = &found["run"];
        let (started, finished) = (run["started_at"].as_str(), run["finished_at"].as_str());
        rests(found) && run["started_at"] != before && started.is_some() && finished >= started
    };
    world.eventually(&path, done).await["run"].clone()
}

/// Runs the source. Fails the test unless the run succeeded.
async fn run_well(world: &World) -> Value {
    let run = run(world, SOURCE).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
    run
}

/// Returns all events of a source, in the order of their capture.
pub(crate) async fn events(world: &World, source: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/events?limit=200&source={source}{cursor}");
        let page = world.client().get(&path).await.unwrap();
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        found.extend(page.data().as_array().unwrap().clone());
        match page.json()["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.reverse();
    found
}

/// Returns the events and their rows, in order: `created 7`.
async fn happened(world: &World) -> Vec<String> {
    let said = |event: &Value| {
        let what = event["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
        format!("{what} {}", event["resource_id"].as_str().unwrap())
    };
    events(world, SOURCE).await.iter().map(said).collect()
}

/// Checks that rows with these numbers have become one event each, and nothing else has.
async fn assert_created_once(world: &World, ids: impl IntoIterator<Item = u32>) {
    let mut wanted: Vec<String> = ids.into_iter().map(|id| format!("created {id}")).collect();
    let mut found = happened(world).await;
    wanted.sort();
    found.sort();
    let lost: Vec<&String> = wanted.iter().filter(|one| !found.contains(one)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), wanted.len());
    assert_eq!(found, wanted, "some came twice, or should not have come");
}

#[rstest]
#[tokio::test]
async fn rows_of_each_dialect_become_events(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(backend).await else { return };
    let (site, receiver) = (Site::start(dialect).await, Receiver::start().await);
    let (list, resource) = names(&site);
    let takes = json!({"events": [format!("{resource}.*")]});
    world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    put(&site, 1..=2, LONG_AGO);
    put(&site, [3], now() - 60);
    source(&world, &poll(&site)).await;
    assert_eq!(happened(&world).await, [""; 0], "what was there before is not news");

    put(&site, [4], now() - 1);
    put(&site, [5], now());
    let report = run_well(&world).await;
    assert_eq!(report["events"], 2, "{report:#}");
    assert!(report["lag_ms"].is_u64() && report["next_at"].is_string(), "{report:#}");
    assert_eq!(happened(&world).await, ["created 4", "created 5"]);

    site.put(list, 4, row(&site, 4, now(), "7.50"));
    run_well(&world).await;
    let found = events(&world, SOURCE).await;
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_eq!(found[2]["type"], format!("{resource}.updated"));
    let event = json!([found[2]["source"], found[2]["resource"], found[2]["resource_id"]]);
    assert_eq!(event, json!([SOURCE, resource, "4"]));
    assert_eq!(found[2]["data"]["total"], "7.50", "{:#}", found[2]);
    run_well(&world).await;
    assert_eq!(events(&world, SOURCE).await.len(), 3, "what stays as it is says nothing");

    let arrivals = receiver.wait_for("/hook", 3).await;
    let first = arrivals.iter().find(|one| one.json()["id"] == found[0]["id"]).unwrap().json();
    assert_eq!(json!([first["event"], first["source"]]), json!([found[0]["type"], SOURCE]));
    assert_eq!(first["payload"]["total"], "5.00");
    assert!(site.asked().iter().all(|asked| asked.status == 200), "the key was shown each time");
}

#[rstest]
#[tokio::test]
async fn more_rows_than_a_page_has_all_come(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Backend::Sqlite).await else { return };
    let site = Site::start(dialect).await;
    source(&world, &poll(&site)).await;
    let begun = now();
    for id in 1..=350 {
        put(&site, [id], begun - 7 + i64::from(id / 50));
    }
    let asked_before = site.count();
    let report = run_well(&world).await;
    assert_eq!(report["events"], 350, "{report:#}");
    assert_created_once(&world, 1..=350).await;
    let column = if dialect == Dialect::Custom { "modified" } else { "datecreated" };
    let found = events(&world, SOURCE).await;
    let times: Vec<&str> =
        found.iter().map(|event| event["data"][column].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "the oldest first: {times:?}");
    if dialect == Dialect::Themesic {
        let limit = |asked: &waybill_tests::site::Asked| asked.query["limit"].clone();
        let limits: Vec<String> = site.asked()[asked_before..].iter().map(limit).collect();
        assert_eq!(limits, ["100", "200", "400"], "the limit is doubled while answers are full");
    }
    run_well(&world).await;
    assert_eq!(events(&world, SOURCE).await.len(), 350);
}

/// A site may return fewer rows in a page than requested.
#[rstest]
#[tokio::test]
async fn a_page_that_is_shorter_than_asked_for_need_not_be_the_last(
    #[values(Dialect::DataBuilder, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Backend::Sqlite).await else { return };
    let site = Site::start(dialect).await;
    site.give_at_most(25);
    source(&world, &merged(poll(&site), &json!({"overlap": "1s"}))).await;
    put(&site, [1], now());
    run_well(&world).await;
    let begun = now();
    for id in 2..=100 {
        put(&site, [id], begun + i64::from(id));
    }
    run_well(&world).await;
    run_well(&world).await;
    assert_created_once(&world, 1..=100).await;
}

#[rstest]
#[tokio::test]
async fn what_lies_back_to_a_date_is_sent_too(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Backend::Sqlite).await else { return };
    let site = Site::start(dialect).await;
    put(&site, [4], LONG_AGO - 90 * 86_400);
    put(&site, [1], LONG_AGO + 60 * 86_400);
    put(&site, [2], LONG_AGO);
    put(&site, [3], now());
    source(&world, &merged(poll(&site), &json!({"start": "2024-01-01"}))).await;
    assert_eq!(happened(&world).await, ["created 2", "created 1", "created 3"]);
    put(&site, [5], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await[3..], ["created 5"], "then it goes on as usual");
}

#[tokio::test]
async fn a_custom_list_has_defaults_and_may_want_unix_time() {
    let Some(world) = World::start(Backend::Sqlite).await else { return };
    let site = Site::start(Dialect::Custom).await;
    let unix = json!({"since": {"parameter": "changed_after", "format": "unix"}});
    source(&world, &merged(poll(&site), &unix)).await;
    for id in 1..=2 {
        put(&site, [id], now());
        run_well(&world).await;
    }
    assert_eq!(happened(&world).await, ["created 1", "created 2"]);
    let since = |asked: &waybill_tests::site::Asked| asked.query["changed_after"].clone();
    let sent = site.asked().last().map(since).unwrap();
    assert!(sent.parse::<i64>().is_ok(), "{sent} is not a number of seconds");

    // The answers of PerfexAPI, read with the defaults of a custom list.
    let plain = Site::start(Dialect::Perfexapi).await;
    plain.lock_with("Bearer the-key");
    let list = json!({"path": "/invoices", "resource": "invoice", "rows": "/data"});
    let settings = json!({
        "preset": "custom", "url": format!("{}/api/v1", plain.url()), "lists": [list],
        "every": "1h", "auth": {"header": "X-API-KEY", "prefix": "Bearer "},
        "since": {"format": "none"}, "paging": {"page": "page", "size": "limit", "rows": 100},
    });
    let settings = json!({"name": "plain", "kind": "poll", "secret": "the-key", "poll": settings});
    world.post("/api/v1/sources", &settings).await;
    run(&world, "plain").await;
    for id in 1..=250 {
        put(&plain, [id], now());
    }
    let report = run(&world, "plain").await;
    assert_eq!((&report["error"], &report["events"]), (&Value::Null, &json!(250)), "{report:#}");
    let found = events(&world, "plain").await;
    assert!(found.iter().all(|event| event["type"] == "invoice.created"), "{:#}", found[0]);
}
