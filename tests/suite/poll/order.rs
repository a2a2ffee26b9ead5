//! The found rows and their order, when times are equal, late, or in another zone, and when rows
//! come and go between two pages.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::site::{KEY, TIME_COLUMNS, now, time};
use waybill_tests::{Dialect, Site, World};

use super::{
    LONG_AGO, assert_created_once, events, happened, names, poll, put, row, run, run_well, source,
};
use crate::support::merged;

#[rstest]
#[tokio::test]
async fn rows_of_the_same_moment_are_neither_lost_nor_repeated(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    source(&world, &merged(poll(&site), &json!({"overlap": "1s"}))).await;
    let moment = now();
    put(&site, 1..=3, moment);
    run_well(&world).await;
    put(&site, 4..=5, moment);
    run_well(&world).await;
    assert_created_once(&world, 1..=5).await;
    // As many as fill pages.
    put(&site, 6..=250, moment);
    run_well(&world).await;
    run_well(&world).await;
    assert_created_once(&world, 1..=250).await;
}

#[rstest]
#[tokio::test]
async fn a_row_that_appears_late_is_found_within_the_overlap(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    source(&world, &poll(&site)).await;
    let moment = now();
    for (id, age) in [(1, 0), (2, 300), (3, 480), (4, 1)] {
        put(&site, [id], moment - age);
        run_well(&world).await;
    }
    assert_eq!(happened(&world).await, ["created 1", "created 2", "created 3", "created 4"]);
}

/// The oldest of more rows than a page holds changes.
#[tokio::test]
async fn an_old_row_that_changes_was_there_before() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    let row = |id: i64, at| {
        let made = site.stamp(LONG_AGO + id * 3_600);
        json!({"id": id, "updated_at": site.stamp(at), "created_at": made})
    };
    for id in 1..=150 {
        site.put("invoices", id, row(id, LONG_AGO + id * 3_600));
    }
    source(&world, &poll(&site)).await;
    site.put("invoices", 1, row(1, now()));
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["updated 1"]);
}

/// The site sorts rows by their change. The source does not know that field, and finds the field of
/// their creation.
#[tokio::test]
async fn old_rows_that_change_are_found_on_every_page() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Custom).await;
    let made_and_changed = |id: u32, made: i64, changed: i64| {
        let row = row(&site, id, changed, if made == changed { "5.00" } else { "7.50" });
        site.put("orders", id, merged(row, &json!({"datecreated": site.stamp(made)})));
    };
    for id in 1..=60 {
        made_and_changed(id, LONG_AGO, LONG_AGO);
    }
    let begun = now();
    made_and_changed(61, begun - 60, begun - 60);
    let list = json!({"path": "/orders", "rows": "/result/items", "key": "number"});
    source(&world, &merged(poll(&site), &json!({"lists": [list]}))).await;
    assert_eq!(happened(&world).await, [""; 0]);
    for id in 1..=60 {
        made_and_changed(id, LONG_AGO, begun);
    }
    run_well(&world).await;
    let mut found = happened(&world).await;
    found.sort();
    let mut wanted: Vec<String> = (1..=60).map(|id| format!("updated {id}")).collect();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[rstest]
#[tokio::test]
async fn rows_that_arrive_between_two_pages_are_not_lost(
    #[values(Dialect::DataBuilder, Dialect::Themesic, Dialect::Perfexapi, Dialect::Custom)] dialect: Dialect,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    let (list, _) = names(&site);
    source(&world, &poll(&site)).await;
    put(&site, 1..=250, now());
    let mut next = 251..=290;
    let template = row(&site, 0, now(), "5.00");
    let key = if dialect == Dialect::Custom { "number" } else { "id" };
    site.before_answers(move |rows, _| {
        for id in next.by_ref().take(3) {
            let mut row = template.clone();
            row[key] = json!(id.to_string());
            rows.put(list, id, row);
        }
    });
    while site.asked().len() < 30 {
        run_well(&world).await;
    }
    run_well(&world).await;
    assert_created_once(&world, 1..=290).await;
}

/// Rows an hour apart, of which thirty of the first page are deleted before the second is
/// requested.
async fn lose_some_between_two_pages(dialect: Dialect) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(dialect).await;
    let (list, _) = names(&site);
    for id in 1..=250 {
        put(&site, [id], LONG_AGO + i64::from(id) * 3_600);
    }
    // The first page has the newest rows, except on the custom site.
    let first_page = if dialect == Dialect::Custom { 1..=30 } else { 221..=250_u32 };
    let mut gone = first_page.clone();
    site.before_answers(move |rows, asked| {
        if asked.page == 2 {
            gone.by_ref().for_each(|id| rows.remove(list, id));
        }
    });
    let settings = json!({"start": "2024-01-01", "overlap": "1s"});
    source(&world, &merged(poll(&site), &settings)).await;
    run_well(&world).await;
    let found = happened(&world).await;
    let stayed = (1..=250).filter(|id| !first_page.contains(id));
    let missing: Vec<u32> = stayed.filter(|id| !found.contains(&format!("created {id}"))).collect();
    assert!(missing.is_empty(), "{} are lost: {missing:?}", missing.len());
    let unique: std::collections::BTreeSet<&String> = found.iter().collect();
    assert_eq!(unique.len(), found.len(), "none comes twice: {found:?}");
}

#[rstest]
#[tokio::test]
async fn rows_that_go_between_two_pages_take_no_others_along(
    #[values(Dialect::DataBuilder, Dialect::Perfexapi)] dialect: Dialect,
) {
    lose_some_between_two_pages(dialect).await;
}

/// Here no answer contains the number of rows.
#[tokio::test]
async fn rows_that_go_between_two_pages_of_a_custom_list_take_no_others_along() {
    lose_some_between_two_pages(Dialect::Custom).await;
}

/// Zones without summer time, so that the test does not depend on the season.
#[rstest]
#[tokio::test]
async fn times_without_a_zone_are_those_of_the_source(
    #[values(("Asia/Kolkata", 19_800), ("America/Bogota", -18_000))] zone: (&str, i64),
    #[values(Dialect::DataBuilder, Dialect::Themesic)] dialect: Dialect,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::ahead(dialect, zone.1).await;
    source(&world, &merged(poll(&site), &json!({"time_zone": zone.0}))).await;
    for id in 1..=3 {
        put(&site, [id], now());
        run_well(&world).await;
    }
    assert_eq!(happened(&world).await, ["created 1", "created 2", "created 3"]);
    let asked = site.asked();
    let last = asked.last().unwrap();
    let back = last.at - last.since.unwrap();
    assert!((600..=3_600).contains(&back), "{} asks {back} s back", last.path);
}

#[tokio::test]
async fn the_start_is_in_the_source_s_zone() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::ahead(Dialect::Perfexapi, 19_800).await;
    let midnight = time::unix("2024-01-02", 19_800).unwrap();
    put(&site, [1], midnight - 1);
    put(&site, [2], midnight);
    let settings = json!({"start": "2024-01-02", "time_zone": "Asia/Kolkata", "overlap": "1s"});
    source(&world, &merged(poll(&site), &settings)).await;
    assert_eq!(happened(&world).await, ["created 2"]);
}

/// The site does not filter the lists of `PerfexAPI`, so the column found here decides what is old
/// and what comes first. Later columns in the order would decide otherwise.
#[tokio::test]
async fn the_column_of_the_time_is_found() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Perfexapi).await;
    let lists =
        ["invoices", "customers", "leads", "estimates", "proposals", "contracts", "expenses"];
    for (n, list) in lists.iter().enumerate() {
        let key = if *list == "customers" { "userid" } else { "id" };
        for (id, day, decoy) in [(1, 60, 10), (2, 30, 20), (3, -90, 30)] {
            let mut row = json!({});
            for column in &TIME_COLUMNS[n + 1..] {
                row[column] = json!(site.stamp(LONG_AGO + decoy * 86_400));
            }
            row[TIME_COLUMNS[n]] = json!(site.stamp(LONG_AGO + day * 86_400));
            row[key] = json!(id);
            site.put(list, id, row);
        }
    }
    source(&world, &merged(poll(&site), &json!({"start": "2024-01-01", "lists": lists}))).await;
    let found = events(&world, super::SOURCE).await;
    let resources = ["invoice", "customer", "lead", "estimate", "proposal", "contract", "expense"];
    for (resource, column) in resources.iter().zip(TIME_COLUMNS) {
        let created = json!(format!("{resource}.created"));
        let of_type = found.iter().filter(|event| event["type"] == created);
        let ids: Vec<&Value> = of_type.map(|event| &event["resource_id"]).collect();
        assert_eq!(ids, ["2", "1"], "{resource} by {column}");
    }
    assert_eq!(found.len(), 14);
}

#[tokio::test]
async fn themesic_s_own_columns_are_known() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Themesic).await;
    let lists = ["customers", "invoices", "leads", "tasks", "tickets"];
    source(&world, &merged(poll(&site), &json!({"lists": lists}))).await;
    for n in 1..=2 {
        let (stamp, day, id) = (site.stamp(now()), site.day(now()), n.to_string());
        site.put("customers", n, json!({"userid": id, "company": "A", "datecreated": stamp}));
        // It states only the day of issue, and filters by that.
        site.put("invoices", n, json!({"id": id, "date": day, "total": "1.00"}));
        site.put("leads", n, json!({"id": id, "name": "B", "dateadded": stamp}));
        site.put("tasks", n, json!({"id": id, "name": "C", "dateadded": stamp}));
        site.put("tickets", n, json!({"ticketid": id, "subject": "D", "date": stamp}));
        run_well(&world).await;
    }
    let found = events(&world, super::SOURCE).await;
    let mut said: Vec<String> = found
        .iter()
        .map(|event| format!("{} {}", event["type"].as_str().unwrap(), event["resource_id"]))
        .collect();
    said.sort();
    let resources = ["customer", "invoice", "lead", "task", "ticket"];
    let wanted = |resource: &&str| [1, 2].map(|n| format!("{resource}.created \"{n}\""));
    assert_eq!(said, resources.iter().flat_map(wanted).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_sources_of_one_site_do_not_mix() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    let other = json!({"name": "other", "kind": "poll", "secret": KEY, "poll": poll(&site)});
    world.post("/api/v1/sources", &other).await;
    run(&world, "other").await;
    put(&site, [2], now());
    run(&world, "other").await;
    run_well(&world).await;
    assert_created_once(&world, 1..=2).await;
    let found = events(&world, "other").await;
    assert_eq!((found.len(), &found[0]["resource_id"]), (1, &json!("2")));
}
