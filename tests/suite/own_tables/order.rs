//! Events come in an order that a copy with the same unique indexes can apply.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::world::text;

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, happened, run_well, source};
use crate::poll::events;

/// A copy of the table that refuses two rows with the same e-mail address.
#[derive(Debug, Default)]
struct Replica(BTreeMap<String, String>);

impl Replica {
    /// Applies an event as it came.
    fn apply(&mut self, event: &Value) {
        let id = text(event, "resource_id");
        if event["type"] == "person.deleted" {
            assert!(self.0.remove(&id).is_some(), "{id} is not there: {event:#}");
            return;
        }
        let email = text(&event["data"], "email");
        let holder = self.0.iter().find(|(other, held)| **held == email && **other != id);
        assert_eq!(holder, None, "the address of {event:#} is taken");
        self.0.insert(id, email);
    }
}

async fn replica(world: &World) -> Replica {
    let mut replica = Replica::default();
    events(world, SOURCE).await.iter().for_each(|event| replica.apply(event));
    replica
}

async fn people(engine: Engine, rows: &str) -> Option<(Legacy, World)> {
    let legacy = Legacy::start(engine).await?;
    let world = World::start(Sqlite).await?;
    legacy
        .change(
            "CREATE TABLE person (id INT PRIMARY KEY, email VARCHAR(80) UNIQUE NOT NULL, v INT);",
        )
        .await;
    legacy.change(&format!("INSERT INTO person (id, email) VALUES {rows};")).await;
    source(&world, &legacy.settings(&json!(["person"]), &json!({"start": "backfill"}))).await;
    Some((legacy, world))
}

#[rstest]
#[tokio::test]
async fn rows_that_are_gone_are_told_before_those_that_take_their_place(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some((legacy, world)) = people(engine, "(5,'a@x.example'), (7,'b@x.example')").await else {
        return;
    };
    legacy
        .change(
            "UPDATE person SET id = 6 WHERE id = 5; DELETE FROM person WHERE id = 7;
             INSERT INTO person (id, email) VALUES (8, 'b@x.example');",
        )
        .await;
    run_well(&world).await;
    let wanted = ["person.deleted#5", "person.deleted#7", "person.created#6", "person.created#8"];
    assert_eq!(happened(&world).await[2..], wanted);
    let replica = replica(&world).await;
    assert_eq!(replica.0.into_keys().collect::<Vec<_>>(), ["6", "8"]);
}

#[rstest]
#[tokio::test]
async fn a_value_that_moves_between_rows_is_given_up_before_it_is_taken(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let rows = "(1,'a'), (2,'b'), (3,'c'), (4,'d'), (9,'z')";
    let Some((legacy, world)) = people(engine, rows).await else { return };
    legacy
        .change(
            "UPDATE person SET email = 'e' WHERE id = 4; UPDATE person SET email = 'd' WHERE id = 3;
             UPDATE person SET email = 'c' WHERE id = 2; UPDATE person SET v = 5 WHERE id = 1;
             DELETE FROM person WHERE id = 9; UPDATE person SET email = 'z' WHERE id = 1;
             INSERT INTO person (id, email) VALUES (0, 'a'), (6, 'b');",
        )
        .await;
    run_well(&world).await;
    let told = happened(&world).await;
    assert_eq!(told[5], "person.deleted#9");
    assert_eq!(told.len(), 5 + 1 + 4 + 2, "{told:?}");
    let replica = replica(&world).await;
    let wanted = [("0", "a"), ("1", "z"), ("2", "c"), ("3", "d"), ("4", "e"), ("6", "b")];
    let wanted = wanted.map(|(id, email)| (id.to_owned(), email.to_owned()));
    assert_eq!(replica.0, BTreeMap::from(wanted));
}

/// More rows than are read at once come and go, also with contents that are read a few at a time.
#[rstest]
#[tokio::test]
async fn every_row_that_waits_is_told_once(#[values(Postgre, Maria)] engine: Engine) {
    let series = |from: u32, to: u32| {
        let row = |n: u32| format!("({n}, 'n{}')", n % 1_000);
        (from..to).map(row).collect::<Vec<_>>().join(", ")
    };
    let Some((legacy, world)) = people(engine, &series(0, 700)).await else { return };
    legacy
        .change(&format!(
            "DELETE FROM person; INSERT INTO person (id, email) VALUES {};",
            series(1_000, 1_900)
        ))
        .await;
    run_well(&world).await;
    run_well(&world).await;
    assert_eq!(happened(&world).await.len(), 700 + 700 + 900);
    assert_eq!(replica(&world).await.0.len(), 900);
}
