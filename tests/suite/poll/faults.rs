//! Sites that are busy, broken or closed: the reported errors, and that nothing is lost.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::site::{KEY, now};
use waybill_tests::{Dialect, Fault, Settings, Site, World};

use super::{SOURCE, assert_created_once, happened, poll, put, run, run_well, source};

#[rstest]
#[tokio::test]
async fn a_busy_site_is_asked_again_for_the_same_page(
    #[values(Fault::Busy(1), Fault::BusyUntil(2), Fault::BusyInBody(1))] busy: Fault,
    #[values(Dialect::DataBuilder, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    source(&world, &poll(&site)).await;
    put(&site, 1..=250, now());
    site.fail(1, busy.clone());
    site.fail_when(1, busy, |asked| asked.page == 2);
    run_well(&world).await;
    assert_created_once(&world, 1..=250).await;
    let asked = site.asked();
    let told: Vec<usize> = (0..asked.len()).filter(|n| asked[*n].status == 429).collect();
    assert_eq!(told.len(), 2);
    for n in told {
        let (refused, next) = (&asked[n], &asked[n + 1]);
        assert_eq!((next.page, &next.list), (refused.page, &refused.list), "{asked:#?}");
    }
}

#[tokio::test]
async fn a_long_wait_holds_nothing_up() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    site.fail(usize::MAX, Fault::Busy(3_600));
    told_to_wait(&world, &site).await;
    // Fails the test unless it drains.
    let mut world = tokio::task::spawn_blocking(move || {
        world.stop();
        world
    })
    .await
    .unwrap();
    world.restart();
    told_to_wait(&world, &site).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    world.post(&format!("{path}/pause"), &json!({})).await;
    let deleted = world.client().delete(&path).await.unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.text());
}

/// Runs the source until the site has told it to wait.
async fn told_to_wait(world: &World, site: &Site) {
    let asked = site.count();
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    site.wait_for(asked + 1).await;
}

/// Returns faults that stay until they are corrected, and words of which `run.error` has one.
fn faults() -> Vec<(Option<Fault>, &'static [&'static str])> {
    vec![
        // The site expects another key.
        (None, &["secret"]),
        (Some(Fault::Status(403)), &["403"]),
        (Some(Fault::Status(404)), &["404"]),
        (Some(Fault::Status(500)), &["500"]),
        (Some(Fault::Nonsense), &["JSON"]),
        (Some(Fault::NoRows), &["rows", "/data"]),
        (Some(Fault::Endless), &["large", "long", "bytes", "MiB", "within"]),
        (Some(Fault::Cut), &["connection", "ended", "incomplete", "broke", "cut"]),
        (Some(Fault::Vanish), &["connection", "closed", "ended", "no answer"]),
        (Some(Fault::Hang), &["within", "time", "no answer"]),
    ]
}

fn impatient(settings: &mut Settings) {
    settings.set("delivery.timeout", "1s");
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_the_secret_and_caught_up_with() {
    let Some(world) = World::start_with(Sqlite, impatient).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    for (id, (fault, words)) in (1..).zip(faults()) {
        match fault.clone() {
            Some(fault) => site.fail(usize::MAX, fault),
            // Its answer repeats the given key.
            None => site.lock_with("another"),
        }
        put(&site, [id], now());
        let report = run(&world, SOURCE).await;
        let error = report["error"].as_str().unwrap_or_default();
        assert!(words.iter().any(|word| error.contains(word)), "{fault:?}: {report:#}");
        let shown = world.get(&format!("/api/v1/sources/{SOURCE}")).await;
        assert!(!shown.to_string().contains(KEY), "{shown:#}");
        assert!(shown["status"]["last_error"].is_string(), "{shown:#}");
        site.heal();
        run_well(&world).await;
        assert_eq!(happened(&world).await.last(), Some(&format!("created {id}")), "{fault:?}");
    }
    assert_created_once(&world, 1..=10).await;
    assert!(!world.server().output().contains(KEY), "the log has the secret");
}

/// The contents of a page stay, or come again, but are not sent twice.
#[rstest]
#[tokio::test]
async fn a_run_that_breaks_off_on_a_later_page_loses_nothing(
    #[values(Dialect::DataBuilder, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
    #[values(Fault::Status(500), Fault::Cut)] fault: Fault,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    source(&world, &poll(&site)).await;
    put(&site, 1..=250, now());
    site.fail_when(usize::MAX, fault, |asked| asked.page == 3);
    let report = run(&world, SOURCE).await;
    assert!(report["error"].is_string(), "{report:#}");
    put(&site, 251..=260, now());
    site.heal();
    run_well(&world).await;
    assert_created_once(&world, 1..=260).await;
}

/// This site returns all rows each time, whatever their dates are.
#[tokio::test]
async fn a_row_without_a_date_comes_too() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Perfexapi).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    site.put("invoices", "zero", json!({"id": 2, "datecreated": "0000-00-00 00:00:00"}));
    site.put("invoices", "null", json!({"id": 3, "datecreated": Value::Null}));
    site.put("invoices", "none", json!({"id": 4, "total": "1.00"}));
    put(&site, [5], now());
    run_well(&world).await;
    run_well(&world).await;
    assert_created_once(&world, 1..=5).await;
}

#[rstest]
#[tokio::test]
async fn a_row_that_cannot_be_told_from_others_does_not_hold_them_up(
    #[values(json!({"total": "1.00"}), json!({"id": null}), json!("not a row"))] odd: Value,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Perfexapi).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    site.put("invoices", "odd", odd);
    put(&site, [2], now());
    let report = run(&world, SOURCE).await;
    let told = report["error"].is_string() || report["warnings"] != json!([]);
    assert!(told, "it is told: {report:#}");
    run(&world, SOURCE).await;
    assert_created_once(&world, 1..=2).await;
}
