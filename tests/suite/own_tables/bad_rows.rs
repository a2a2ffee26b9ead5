//! One row that cannot be read is set aside by name. The others become events, and the row does not
//! count as deleted.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::{skip, text};
use waybill_tests::{Database, World};

use super::Engine::{Maria, Postgre};
use super::{Legacy, SOURCE, happened, run_well, source};

const DEAD: &str = "/api/v1/dead-letters";

/// Creates a PostgreSQL database that accepts any bytes as text.
async fn ascii() -> Option<Legacy> {
    let Ok(server) = std::env::var("WAYBILL_TEST_POSTGRES") else {
        skip("WAYBILL_TEST_POSTGRES names no PostgreSQL; `cargo xtask test` starts one");
        return None;
    };
    let options = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    Some(Legacy::Postgre(Database::create_with(&server, options).await.unwrap()))
}

async fn rows_aside(world: &World) -> Vec<Value> {
    let letters = world.get(&format!("{DEAD}?kind=row&source={SOURCE}")).await;
    let mut letters = letters.as_array().unwrap().clone();
    letters.sort_by_key(|letter| text(letter, "row"));
    letters
}

#[rstest]
#[tokio::test]
async fn bytes_outside_the_encoding_stop_no_other_row(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = ascii().await else { return };
    let Some(world) = World::start(backend).await else { return };
    legacy
        .change(
            "CREATE TABLE t (id INT PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'there');",
        )
        .await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy
        .change(
            r"SET client_encoding = 'SQL_ASCII';
              INSERT INTO t VALUES (2, 'ok'), (3, E'caf\351'), (4, 'later'), (5, E'\377');
              UPDATE t SET name = E'\350' WHERE id = 1;",
        )
        .await;
    run_well(&world).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["t.created#2", "t.created#4"]);
    let letters = rows_aside(&world).await;
    let named: Vec<&Value> = letters.iter().map(|letter| &letter["row"]).collect();
    assert_eq!(named, ["1", "3", "5"], "{letters:#?}");
    assert!(
        letters.iter().all(|letter| letter["reason"] == "row_unreadable" && letter["list"] == "t")
    );
    assert!(text(&letters[0], "detail").contains("invalid byte sequence"), "{letters:#?}");

    legacy
        .change(
            "UPDATE t SET name = 'there' WHERE id = 1; UPDATE t SET name = 'cafe' WHERE id = 3;
             DELETE FROM t WHERE id = 5;",
        )
        .await;
    let replay = format!("{DEAD}/{}/replay", text(&letters[1], "id"));
    world.post(&replay, &json!({})).await;
    world.eventually(DEAD, |found| *found == json!([])).await;
    let wanted = ["t.created#2", "t.created#4", "t.created#3"];
    assert_eq!(happened(&world).await, wanted, "a row that is as it was says nothing");
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_named_by_its_place() {
    let Some(legacy) = ascii().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change("CREATE TABLE t (k TEXT PRIMARY KEY, v INT); INSERT INTO t VALUES ('a', 1);")
        .await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy
        .change(
            r"SET client_encoding = 'SQL_ASCII';
              INSERT INTO t VALUES (E'b\351', 2), ('c', 3), (E'z\351', 4); UPDATE t SET v = 5 WHERE k = 'a';",
        )
        .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["t.updated#a", "t.created#c"]);
    let letters = rows_aside(&world).await;
    assert_eq!(letters.len(), 2, "{letters:#?}");
    assert!(letters.iter().all(|letter| text(letter, "row").starts_with("row ")), "{letters:#?}");
}

/// A column may come to have fewer characters than the keys that were read from it.
#[tokio::test]
async fn keys_that_a_column_cannot_hold_any_more_are_gone() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "CREATE TABLE ek (k VARCHAR(40) CHARACTER SET utf8mb4 PRIMARY KEY, v INT);
             INSERT INTO ek VALUES ('😀', 1), ('Ελ', 2), ('a', 3);",
        )
        .await;
    source(&world, &legacy.settings(&json!(["ek"]), &json!({"start": "backfill"}))).await;
    legacy
        .change(
            "DELETE FROM ek WHERE v < 3; ALTER TABLE ek MODIFY k VARCHAR(40) CHARACTER SET latin1;",
        )
        .await;
    run_well(&world).await;
    let mut gone = happened(&world).await.split_off(3);
    gone.sort();
    assert_eq!(gone, ["ek.deleted#Ελ", "ek.deleted#😀"]);
}

#[tokio::test]
async fn half_a_character_in_a_document_stops_no_other_row() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE t (id INT PRIMARY KEY, j JSON);").await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy
        .change(
            r#"INSERT INTO t VALUES (1, '{"a": "\ud83d"}'), (2, '{"a": "\ud83d\ude00"}'), (3, '{}');"#,
        )
        .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["t.created#2", "t.created#3"]);
    let letters = rows_aside(&world).await;
    assert_eq!((letters.len(), &letters[0]["row"]), (1, &json!("1")));
    assert!(text(&letters[0], "detail").contains("`j`"), "{letters:#?}");
}

/// More than a few bad rows are a fault of the table, which is reported.
#[tokio::test]
async fn a_table_of_nothing_but_bad_rows_is_an_error() {
    let Some(legacy) = ascii().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "CREATE TABLE t (id INT PRIMARY KEY, name TEXT); CREATE TABLE u (id INT PRIMARY KEY);",
        )
        .await;
    source(&world, &legacy.settings(&json!(["t", "u"]), &json!({}))).await;
    legacy
        .change(
            r"SET client_encoding = 'SQL_ASCII'; INSERT INTO t SELECT n, E'\351' FROM generate_series(1, 150) n;
              INSERT INTO u VALUES (1);",
        )
        .await;
    let run = crate::poll::run(&world, SOURCE).await;
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("t: more than 100 rows"), "{error}");
    assert_eq!(happened(&world).await, ["u.created#1"]);
}
