//! Sources of kind `database` with custom tables: rows of PostgreSQL and MariaDB become events.

mod bad_rows;
mod faults;
mod first;
mod keys;
mod kills;
mod odd;
mod order;
mod representation;
mod settings;
mod typed;

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::world::{skip, text};
use waybill_tests::{Arrival, Backend, Database, MariaDatabase, Receiver, World};

use crate::poll::{self, events};
use crate::support::{endpoint_with, first_run, merged, name, verified};
use Backend::{Postgres, Sqlite};
use Engine::{Maria, Postgre};

/// The source's name.
const SOURCE: &str = "legacy";

/// Value of columns that must never be read.
const NEVER: &str = "must-never-be-read";

/// The server of the legacy system's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Postgre,
    Maria,
}

/// A legacy system's database.
#[derive(Debug)]
enum Legacy {
    Postgre(Database),
    Maria(MariaDatabase),
}

impl Legacy {
    /// Creates a database on the server of all tests. Returns `None` without a server.
    async fn start(engine: Engine) -> Option<Self> {
        if engine == Maria {
            return Some(Self::Maria(MariaDatabase::fresh().await?));
        }
        let Ok(server) = std::env::var("WAYBILL_TEST_POSTGRES") else {
            skip("WAYBILL_TEST_POSTGRES names no PostgreSQL; `cargo xtask test` starts one");
            return None;
        };
        Some(Self::Postgre(Database::create(&server).await.unwrap()))
    }

    /// Runs statements as one transaction. Names are in double quotes on every server.
    async fn change(&self, sql: &str) {
        match self {
            Self::Postgre(database) => database.execute(sql).await,
            Self::Maria(database) => {
                database.execute(&format!("SET sql_mode = 'ANSI_QUOTES'; {sql}")).await
            }
        }
        .unwrap();
    }

    /// Returns the settings of a source that reads these tables once an hour, or on request.
    fn settings(&self, own_tables: &Value, more: &Value) -> Value {
        let (url, secret) = match self {
            Self::Postgre(database) => (database.url(), "nobody-asks-for-it".to_owned()),
            Self::Maria(database) => (database.reader_url(), database.password()),
        };
        let database = json!({"url": url, "every": "1h", "own_tables": own_tables, "pause": "0s"});
        json!({
            "name": SOURCE, "kind": "database", "secret": secret,
            "database": merged(database, more),
        })
    }
}

/// Creates a source, and waits for the end of its first run. Fails the test unless that succeeded.
async fn source(world: &World, settings: &Value) {
    let run = first_run(world, settings).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
}

/// Runs the source. Fails the test unless the run succeeded.
async fn run_well(world: &World) -> Value {
    let run = poll::run(world, SOURCE).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
    run
}

/// Returns all captured events, in order.
async fn happened(world: &World) -> Vec<String> {
    events(world, SOURCE).await.iter().map(name).collect()
}

/// Returns all captured events, sorted.
async fn happened_sorted(world: &World) -> Vec<String> {
    let mut all = happened(world).await;
    all.sort();
    all
}

/// Returns a receiver of all events of the source, and the secret of its signatures.
async fn receiver(world: &World) -> (Receiver, String) {
    let receiver = Receiver::start().await;
    let takes = json!({"events": ["*"]});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    (receiver, text(&made, "secret"))
}

/// Returns the bodies of all deliveries once there are `n`. Fails the test unless each is signed
/// and of another event.
async fn delivered(receiver: &Receiver, secret: &str, n: usize) -> Vec<Value> {
    let arrivals: Vec<Arrival> = receiver.wait_for("/hook", n).await;
    assert!(arrivals.iter().all(|arrival| verified(arrival, secret)), "{arrivals:?}");
    let mut bodies: Vec<Value> = arrivals.iter().map(Arrival::json).collect();
    let ids: BTreeSet<String> = bodies.iter().map(|body| text(body, "id")).collect();
    assert_eq!((ids.len(), bodies.len()), (n, n), "each event is delivered once");
    bodies.sort_by_key(name);
    bodies
}

/// Returns whether a file of the world contains a text: its SQLite database, if it has one.
fn is_kept(world: &World, text: &str) -> bool {
    let entries = std::fs::read_dir(world.folder()).unwrap();
    let files = entries.filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
    files.into_iter().any(|file| file.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[rstest]
#[tokio::test]
async fn new_changed_and_gone_rows_are_delivered_exactly_once(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(backend).await else { return };
    legacy
        .change(&format!(
            r#"CREATE TABLE "Order Li""nes" ("nr" INT PRIMARY KEY, "sum ""net""" DECIMAL(9,2), note VARCHAR(200), pin VARCHAR(50));
            INSERT INTO "Order Li""nes" VALUES (1, 5.00, 'there', '{NEVER}'), (2, 6.00, NULL, '{NEVER}'), (3, 7.00, 'x', '{NEVER}');"#
        ))
        .await;
    let (receiver, secret) = receiver(&world).await;
    let tables = json!([{"table": "Order Li\"nes", "resource": "line", "exclude": ["pin"]}]);
    source(&world, &legacy.settings(&tables, &json!({}))).await;
    assert_eq!(happened(&world).await, [""; 0], "what was there is no news");

    legacy
        .change(&format!(
            r#"INSERT INTO "Order Li""nes" VALUES (4, 8.50, 'new', '{NEVER}');
            UPDATE "Order Li""nes" SET "sum ""net""" = 9.10, note = 'more' WHERE "nr" = 2;
            UPDATE "Order Li""nes" SET pin = '{NEVER}-2' WHERE "nr" = 1;
            DELETE FROM "Order Li""nes" WHERE "nr" = 3;"#
        ))
        .await;
    run_well(&world).await;
    run_well(&world).await;
    let bodies = delivered(&receiver, &secret, 3).await;
    let names: Vec<String> = bodies.iter().map(name).collect();
    assert_eq!(names, ["line.created#4", "line.deleted#3", "line.updated#2"]);
    assert!(bodies.iter().all(|body| body["source"] == SOURCE && body["resource"] == "line"));
    assert_eq!(bodies[0]["payload"], json!({"nr": 4, "sum \"net\"": 8.5, "note": "new"}));
    assert_eq!(bodies[1]["payload"], json!({"nr": 3, "sum \"net\"": 7, "note": "x"}));
    assert_eq!(bodies[2]["payload"], json!({"nr": 2, "sum \"net\"": 9.1, "note": "more"}));
    assert_eq!(bodies[2]["changed"], json!(["sum \"net\"", "note"]));
    assert_eq!(bodies[2]["previous"], json!({"sum \"net\"": 6, "note": null}));
    for body in &bodies[..2] {
        assert!(body.get("changed").is_none() && body.get("previous").is_none(), "{body:#}");
    }
    assert!(bodies.iter().all(|body| !body.to_string().contains(NEVER)), "{bodies:#?}");
    assert_eq!(is_kept(&world, "more"), backend == Sqlite, "what is read is found there");
    assert!(!is_kept(&world, NEVER), "and what must never be read is not");
}

#[rstest]
#[tokio::test]
async fn a_row_that_comes_again_is_told_again(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(backend).await else { return };
    legacy.change("CREATE TABLE flags (name VARCHAR(50) PRIMARY KEY, state INT);").await;
    source(&world, &legacy.settings(&json!(["flags"]), &json!({}))).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        for (change, what) in [
            ("INSERT INTO flags VALUES ('a', 1);", "created"),
            ("UPDATE flags SET state = 2;", "updated"),
            ("UPDATE flags SET state = 1;", "updated"),
            ("DELETE FROM flags;", "deleted"),
        ] {
            legacy.change(change).await;
            run_well(&world).await;
            expected.push(format!("flags.{what}#a"));
            assert_eq!(happened(&world).await, expected);
        }
    }
}

#[rstest]
#[tokio::test]
async fn what_is_not_read_any_more_is_told_nowhere(#[values(Postgre, Maria)] engine: Engine) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change("CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(50), pin VARCHAR(50));")
        .await;
    let (receiver, secret) = receiver(&world).await;
    source(&world, &legacy.settings(&json!(["people"]), &json!({}))).await;
    legacy.change("INSERT INTO people VALUES (1, 'Ada', 'known'), (2, 'Bob', 'known');").await;
    run_well(&world).await;
    let bodies = delivered(&receiver, &secret, 2).await;
    assert_eq!(bodies[0]["payload"]["pin"], "known");

    let without = json!([{"table": "people", "exclude": ["pin"]}]);
    let without = json!({"database": legacy.settings(&without, &json!({}))["database"]});
    let path = format!("/api/v1/sources/{SOURCE}");
    let changed = world.client().patch(&path, &without).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    run_well(&world).await;
    legacy
        .change("UPDATE people SET name = 'Eva' WHERE id = 1; DELETE FROM people WHERE id = 2;")
        .await;
    run_well(&world).await;
    let bodies = delivered(&receiver, &secret, 4).await;
    let names: Vec<String> = bodies.iter().map(name).collect();
    let wanted = ["people.created#1", "people.created#2", "people.deleted#2", "people.updated#1"];
    assert_eq!(names, wanted, "that it is not read any more is not a change of a row");
    assert_eq!(bodies[3]["previous"], json!({"name": "Ada"}));
    assert_eq!(bodies[2]["payload"], json!({"id": 2, "name": "Bob"}));
}

#[rstest]
#[tokio::test]
async fn a_column_that_comes_without_values_is_no_change(#[values(Postgre, Maria)] engine: Engine) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(50));").await;
    legacy.change("INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob');").await;
    source(&world, &legacy.settings(&json!(["people"]), &json!({}))).await;
    legacy.change("ALTER TABLE people ADD COLUMN phone VARCHAR(50);").await;
    run_well(&world).await;
    legacy.change("UPDATE people SET phone = '1' WHERE id = 2;").await;
    run_well(&world).await;
    let found = events(&world, SOURCE).await;
    assert_eq!(found.iter().map(name).collect::<Vec<_>>(), ["people.updated#2"]);
    let event = world.get(&format!("/api/v1/events/{}", text(&found[0], "id"))).await;
    assert_eq!(event["changes"]["changed"], json!(["phone"]), "{event:#}");
}
