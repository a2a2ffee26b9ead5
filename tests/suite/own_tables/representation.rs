//! A value in another notation is not a change. It is sent as it was read.

use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::world::text;

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, happened, run_well, source};
use crate::poll;

const ROWS: usize = 50;

#[rstest]
#[tokio::test]
async fn wider_columns_and_other_types_are_no_changes(#[values(Postgre, Maria)] engine: Engine) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let moment = if engine == Maria { "DATETIME" } else { "TIMESTAMP" };
    legacy
        .change(&format!(
            "CREATE TABLE wid (id INT PRIMARY KEY, total DECIMAL(15,2), at {moment}, clock TIME,
                code VARCHAR(20), note VARCHAR(20), day DATE, active INT);"
        ))
        .await;
    let row = |n: usize| {
        format!("({n}, {n}.50, '2026-01-02 03:04:05', '10:00:00', '{n}', NULL, '2026-01-02', 1)")
    };
    let rows: Vec<String> = (1..=ROWS).map(row).collect();
    legacy.change(&format!("INSERT INTO wid VALUES {};", rows.join(", "))).await;
    source(&world, &legacy.settings(&json!(["wid"]), &json!({"start": "backfill"}))).await;
    assert_eq!(happened(&world).await.len(), ROWS);

    let changes = if engine == Maria {
        "ALTER TABLE wid MODIFY total DECIMAL(15,4), MODIFY at DATETIME(6), MODIFY clock TIME(3),
            MODIFY code INT, MODIFY day DATETIME;"
    } else {
        "ALTER TABLE wid ALTER total TYPE NUMERIC(15,4), ALTER at TYPE TIMESTAMPTZ USING at AT TIME ZONE 'UTC',
            ALTER clock TYPE TIME(3), ALTER code TYPE INT USING code::int, ALTER day TYPE TIMESTAMP,
            ALTER active TYPE BOOLEAN USING active = 1;"
    };
    legacy.change(changes).await;
    legacy.change("UPDATE wid SET note = '';").await;
    run_well(&world).await;
    assert_eq!(happened(&world).await.len(), ROWS, "nothing has another value");

    legacy.change("UPDATE wid SET total = 9.75 WHERE id = 3;").await;
    run_well(&world).await;
    let found = poll::events(&world, SOURCE).await;
    assert_eq!(found.len(), ROWS + 1);
    let path = format!("/api/v1/events/{}", text(&found[ROWS], "id"));
    let event = world.client().get(&path).await.unwrap().text();
    assert!(event.contains(r#""total":9.7500"#), "as it was read: {event}");
    assert!(event.contains(r#""changed":["total"],"previous":{"total":3.5000}"#), "{event}");
}

#[tokio::test]
async fn a_text_that_looks_like_a_number_is_a_text() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE t (id INT PRIMARY KEY, version VARCHAR(20));").await;
    legacy.change("INSERT INTO t VALUES (1, '1.50'), (2, '007'), (3, '1');").await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"start": "backfill"}))).await;
    legacy
        .change(
            "UPDATE t SET version = '1.500' WHERE id = 1; UPDATE t SET version = '7' WHERE id = 2;
             UPDATE t SET version = '1 ' WHERE id = 3;",
        )
        .await;
    run_well(&world).await;
    let told = happened(&world).await;
    assert_eq!(told[3..], ["t.updated#1", "t.updated#2", "t.updated#3"]);
}

/// `MariaDB` writes zeros for a missing date or day.
#[tokio::test]
async fn dates_without_a_day_are_null() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "SET sql_mode = 'ANSI_QUOTES'; CREATE TABLE zd (id INT PRIMARY KEY, d DATE, dt DATETIME);
             INSERT INTO zd VALUES (1, '0000-00-00', '0000-00-00 00:00:00'), (2, '2022-11-00', '2022-11-00 20:59:22'),
                (3, '2022-11-01', '2022-11-01 00:00:00');",
        )
        .await;
    source(&world, &legacy.settings(&json!(["zd"]), &json!({"start": "backfill"}))).await;
    let data: Vec<_> =
        poll::events(&world, SOURCE).await.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(data[0], json!({"id": 1, "d": null, "dt": null}));
    assert_eq!(data[1], json!({"id": 2, "d": null, "dt": null}));
    assert_eq!(data[2], json!({"id": 3, "d": "2022-11-01", "dt": "2022-11-01 00:00:00"}));
    legacy.change("UPDATE zd SET d = NULL WHERE id = 1;").await;
    run_well(&world).await;
    assert_eq!(happened(&world).await.len(), 3, "there was no date before either");
}
