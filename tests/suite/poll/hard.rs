//! Rare cases that were once wrong: unusual rows, dates and times, and refused settings.

mod settings;

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::site::{KEY, now, time};
use waybill_tests::{Dialect, Fault, Receiver, Site, World};

use super::{
    LONG_AGO, SOURCE, assert_created_once, events, happened, names, poll, put, row, run_well,
    source,
};
use crate::support::{endpoint_with, merged, problem};

/// Midnight of 2099-01-01.
const FAR_AHEAD: i64 = 4_070_908_800;

/// Returns the path of the source.
fn path() -> String {
    format!("/api/v1/sources/{SOURCE}")
}

async fn delete(world: &World) {
    let deleted = world.client().delete(&path()).await.unwrap();
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text());
}

/// Such a site does not report changes, so no page can be skipped.
#[rstest]
#[tokio::test]
async fn every_page_of_a_list_without_since_is_read_at_every_run(
    #[values("now", "2024-01-01")] start: &str,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Perfexapi).await;
    for id in 1..=300 {
        put(&site, [id], LONG_AGO - 86_400 + i64::from(id) * 600);
    }
    source(&world, &merged(poll(&site), &json!({"start": start}))).await;
    let before = happened(&world).await.len();
    // The last added come first, so the first rows are on the last page. These are older than any
    // start.
    for total in ["7.50", "5.00"] {
        site.put("invoices", 1, row(&site, 1, LONG_AGO - 85_800, total));
        run_well(&world).await;
    }
    assert_eq!(happened(&world).await[before..], ["updated 1", "updated 1"], "there and back");
}

/// PHP 8.1 sends numbers that earlier versions sent as texts, and a wider column adds zeros.
#[tokio::test]
async fn values_that_are_only_written_differently_are_no_updates() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    let at = now();
    for id in 1..=5_u32 {
        let texts = json!({"id": id.to_string(), "total": "1.50", "status": "1", "note": null});
        site.put("invoices", id, merged(row(&site, id, at, "1.00"), &texts));
    }
    run_well(&world).await;
    assert_created_once(&world, 1..=5).await;
    for written in [
        json!({"total": "1.5000", "status": "1", "note": ""}),
        json!({"total": 1.5, "status": 1, "note": ""}),
    ] {
        for id in 1..=5_u32 {
            site.put("invoices", id, merged(row(&site, id, at, "1.00"), &written));
        }
        run_well(&world).await;
        assert_created_once(&world, 1..=5).await;
    }
    let changed = merged(row(&site, 3, at, "1.00"), &json!({"total": 1.25, "status": 1}));
    site.put("invoices", 3, changed);
    run_well(&world).await;
    let found = events(&world, SOURCE).await;
    assert_eq!(found.len(), 6);
    assert_eq!(found[5]["data"]["total"], json!(1.25), "as it was read");
    let event = world.get(&format!("/api/v1/events/{}", found[5]["id"].as_str().unwrap())).await;
    assert_eq!(event["changes"]["changed"], json!(["total"]));
}

#[rstest]
#[tokio::test]
async fn a_row_from_the_future_hides_none_of_the_present(#[values(true, false)] is_there: bool) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    put(&site, [1], now() - 60);
    let mut expected = Vec::new();
    if is_there {
        put(&site, [99], FAR_AHEAD);
    }
    source(&world, &poll(&site)).await;
    if !is_there {
        put(&site, [99], FAR_AHEAD);
        run_well(&world).await;
        expected.push("created 99".to_owned());
    }
    for id in 2..=4 {
        put(&site, [id], now());
        run_well(&world).await;
        expected.push(format!("created {id}"));
    }
    assert_eq!(happened(&world).await, expected);
}

/// The first page of the first run then ends long before the rows of the last minutes.
#[tokio::test]
async fn a_row_from_the_future_makes_no_news_of_what_was_there() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    put(&site, 1..=250, now() - 30);
    put(&site, [999], FAR_AHEAD);
    source(&world, &poll(&site)).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, [""; 0]);
    put(&site, [1_000], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1000"]);
}

/// "From now on" means from the creation of the source, not from the first successful run.
#[rstest]
#[tokio::test]
async fn what_comes_while_the_first_run_fails_is_news(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
    #[values(false, true)] restarts: bool,
) {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    let (list, _) = names(&site);
    put(&site, 1..=2, now() - 60);
    site.fail(usize::MAX, Fault::Status(500));
    source(&world, &poll(&site)).await;
    let failed = world.get(&path()).await["run"].clone();
    assert!(failed["error"].is_string(), "{failed:#}");
    if restarts {
        world.restart();
    }
    // Its clock is a little ahead, so that this is later than the first run whatever the fraction
    // of the second.
    put(&site, [3], now() + 2);
    site.heal();
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 3"]);
    site.put(list, 1, row(&site, 1, now(), "7.50"));
    put(&site, [4], now());
    run_well(&world).await;
    let mut found = happened(&world).await;
    found.sort();
    assert_eq!(found, ["created 3", "created 4", "updated 1"]);
}

/// Sites write whole seconds: a row from the first run's own second has a time before the run.
#[tokio::test]
async fn what_comes_in_the_second_of_a_first_run_that_failed_is_news() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    put(&site, [1], now() - 60);
    site.fail(usize::MAX, Fault::Status(500));
    let settings = json!({"name": SOURCE, "kind": "poll", "secret": KEY, "poll": poll(&site)});
    world.post("/api/v1/sources", &settings).await;
    let failed = world.eventually(&path(), |found| found["run"]["error"].is_string()).await;
    let began = failed["run"]["started_at"].as_str().unwrap();
    put(&site, [2], time::unix(began, 0).unwrap());
    site.heal();
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 2"], "the first run began {began}");
}

/// More rows than the newest page and the overlap hold.
#[tokio::test]
async fn what_comes_while_first_runs_fail_for_long_is_news_page_after_page() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    site.fail(usize::MAX, Fault::Status(500));
    source(&world, &merged(poll(&site), &json!({"overlap": "1s"}))).await;
    // Longer than the overlap, so that the first of these are older than the range of a first look.
    let failed_at = now();
    while now() < failed_at + 4 {
        assert!(super::run(&world, SOURCE).await["error"].is_string());
    }
    put(&site, 1..=150, failed_at + 1);
    put(&site, 151..=250, now());
    site.heal();
    run_well(&world).await;
    assert_eq!(happened(&world).await.len(), 250);
}

#[rstest]
#[tokio::test]
async fn a_row_that_cannot_be_an_event_holds_no_others_up(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(Dialect::DataBuilder, Dialect::Perfexapi)] dialect: Dialect,
) {
    let Some(world) = World::start(backend).await else { return };
    let site = Site::start(dialect).await;
    let odd = |key: &str, id: String, total: u32| {
        let stamp = site.stamp(now());
        site.put("invoices", key, json!({"id": id, "datecreated": stamp, "total": total}));
    };
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    for total in 1..=3 {
        odd("nul", "odd\u{0}one".to_owned(), total);
        odd("long", "long".repeat(5_000), total);
        put(&site, [total + 1], now());
        let report = run_well(&world).await;
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("odd") && warnings.contains("longlong"), "{warnings}");
        assert!(warnings.len() < 2_000, "it is not told in full: {warnings}");
    }
    // In a field that is not an id this is not a fault.
    let note = json!({"id": 5, "datecreated": site.stamp(now()), "a\u{0}b": "c\u{0}d"});
    site.put("invoices", 5, note);
    let report = run_well(&world).await;
    assert_eq!(report["warnings"], json!([]), "what stays as it is says nothing");
    assert_created_once(&world, 1..=5).await;
    let found = events(&world, SOURCE).await;
    let note = found.iter().find(|event| event["resource_id"] == "5").unwrap();
    assert_eq!(note["data"]["a\u{0}b"], "c\u{0}d", "{note:#}");
}

#[rstest]
#[tokio::test]
async fn a_source_that_is_made_again_repeats_what_happens_again(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    let begun = now();
    let settings = merged(poll(&site), &json!({"start": "2024-01-01"}));
    let mut expected = Vec::new();
    for _ in 0..2 {
        put(&site, 1..=3, begun);
        source(&world, &settings).await;
        expected.extend([1, 2, 3].map(|id| format!("created {id}")));
        assert_eq!(happened(&world).await, expected, "the same backfill, by another source");
        site.put("invoices", 2, row(&site, 2, begun, "7.50"));
        run_well(&world).await;
        expected.push("updated 2".to_owned());
        assert_eq!(happened(&world).await, expected, "the same change");
        delete(&world).await;
    }
}

/// Waits until the site has received a request for a second page.
async fn asked_for_page_2(site: &Site) {
    let mut asked = site.wait_for(1).await;
    while asked.iter().all(|asked| asked.page != 2) {
        asked = site.wait_for(asked.len() + 1).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cut_off_goes_on_by_itself(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(false, true)] is_first: bool,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    let seldom = merged(poll(&site), &json!({"every": "31d", "start": "2024-01-01"}));
    if !is_first {
        source(&world, &seldom).await;
    }
    put(&site, 1..=250, now());
    site.fail_when(usize::MAX, Fault::Hang, |asked| asked.page == 2);
    if is_first {
        let settings = json!({"name": SOURCE, "kind": "poll", "secret": KEY, "poll": seldom});
        world.post("/api/v1/sources", &settings).await;
    } else {
        world.post(&format!("{}/run", path()), &json!({})).await;
    }
    asked_for_page_2(&site).await;
    let cut_off = world.get(&path()).await["run"].clone();
    assert_eq!(cut_off["running"], true, "{cut_off:#}");
    let planned = time::unix(cut_off["next_at"].as_str().unwrap(), 0).unwrap();
    assert!(planned > now() + 30 * 86_400, "a running source shows its next run: {cut_off:#}");
    world.kill9();
    site.heal();
    world.restart();
    let ended = |found: &Value| {
        let run = &found["run"];
        run["running"] == false && run["finished_at"].as_str() > run["started_at"].as_str()
    };
    let run = world.eventually(&path(), ended).await["run"].clone();
    assert!(run["started_at"].as_str() > cut_off["started_at"].as_str(), "{run:#}");
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(250)), "{run:#}");
    assert_created_once(&world, 1..=250).await;
    let next = time::unix(run["next_at"].as_str().unwrap(), 0).unwrap();
    assert!(next > now() + 30 * 86_400, "and then it has time again: {run:#}");
}

#[tokio::test]
async fn a_trial_does_not_wait_for_a_busy_site() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [7], now());
    let trial = async || {
        let call = Call::new(Method::POST, &format!("{}/test", path()));
        world.client().send(call).await.unwrap()
    };
    for busy in [Fault::Busy(1), Fault::BusyUntil(1), Fault::BusyInBody(1), Fault::Busy(86_400)] {
        site.fail(1, busy);
        let asked = site.count();
        problem(&trial().await, 502);
        // A run that waited would have asked again, and would have an answer then.
        assert_eq!(site.count(), asked + 1);
        let again = trial().await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    }
}

#[tokio::test]
async fn a_field_s_name_of_many_dots_is_a_name() {
    let Some(world) = World::start(Sqlite).await else { return };
    let (site, receiver) = (Site::start(Dialect::DataBuilder).await, Receiver::start().await);
    let maps = [
        json!({"exclude": ["total"]}),
        json!({"include": ["id", "datecreated"]}),
        json!({"rename": {"id": "number"}}),
    ];
    for (n, map) in maps.iter().enumerate() {
        let url = receiver.url(&format!("/hook-{n}"));
        world.endpoint(&endpoint_with(&format!("erp-{n}"), &url, &json!({"field_map": map}))).await;
    }
    source(&world, &poll(&site)).await;
    let odd = [(7, ".".repeat(60_000)), (9, "a.".repeat(30_000))];
    // One time for both contents, so that nothing else of the rows changes.
    let when = now();
    for total in 1..=2 {
        for (id, name) in &odd {
            let mut odd = row(&site, *id, when, "5.00");
            odd[name] = json!(total);
            site.put("invoices", id, odd);
        }
        run_well(&world).await;
    }
    put(&site, [8], now());
    run_well(&world).await;
    let wanted = ["created 7", "created 9", "updated 7", "updated 9", "created 8"];
    assert_eq!(happened(&world).await, wanted);
    for (n, map) in maps.iter().enumerate() {
        let arrivals = receiver.wait_for(&format!("/hook-{n}"), wanted.len()).await;
        for (id, name) in &odd {
            let is_it = |told: &Value| {
                told["event"] == "invoice.updated" && told["resource_id"] == json!(id.to_string())
            };
            let told = arrivals.iter().map(waybill_tests::Arrival::json).find(is_it).unwrap();
            let is_left_out = map["include"].is_array();
            let wanted = if is_left_out { json!([]) } else { json!([name]) };
            assert!(told["changed"] == wanted, "row {id} to endpoint {n}");
            let before = if is_left_out { Value::Null } else { json!(1) };
            assert!(told["previous"][name] == before, "row {id} to endpoint {n}");
        }
    }
}
