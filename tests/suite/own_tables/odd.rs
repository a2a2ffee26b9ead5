//! Cases that were once wrong: unusual orders and types, rows that a policy hides, contents that no
//! delivery can hold.

use serde_json::json;
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;

use super::Engine::{Maria, Postgre};
use super::{Legacy, SOURCE, delivered, happened, happened_sorted, receiver, run_well, source};
use crate::poll;
use crate::support::problem;
use hyper::Method;
use waybill_tests::rest::Call;

/// PostgreSQL searches operators only in `public` and its own schema, and so would compare such
/// keys as plain texts.
#[tokio::test]
async fn keys_of_a_type_that_lives_elsewhere_are_read_in_their_own_order() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE t (id ext.citext PRIMARY KEY);
             INSERT INTO t SELECT 'a' || n FROM generate_series(1, 60) n;
             INSERT INTO t SELECT 'B' || n FROM generate_series(1, 60) n;",
        )
        .await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"start": "backfill"}))).await;
    assert_eq!(happened(&world).await.len(), 120);
    legacy.change("DELETE FROM t WHERE id IN ('a7', 'B8');").await;
    run_well(&world).await;
    assert_eq!(happened_sorted(&world).await[120..], ["t.deleted#B8", "t.deleted#a7"]);
}

#[tokio::test]
async fn an_index_by_another_order_does_not_tell_rows_apart() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            r#"CREATE TABLE t (id TEXT COLLATE "C" NOT NULL); CREATE UNIQUE INDEX ON t (id COLLATE "POSIX");
               CREATE TABLE u (id TEXT NOT NULL); CREATE UNIQUE INDEX ON u (id text_pattern_ops);"#,
        )
        .await;
    for table in ["t", "u"] {
        let own = json!([{"table": table, "key": "id"}]);
        let settings = legacy.settings(&own, &json!({}));
        let run = super::first_run(&world, &settings).await;
        let error = run["error"].as_str().unwrap();
        assert!(error.contains("no unique index of its own"), "{error}");
        let path = format!("/api/v1/sources/{SOURCE}");
        world.client().delete(&path).await.unwrap();
    }
}

/// Keys that the column cannot hold any more belong to rows that no longer exist.
#[tokio::test]
async fn a_key_of_another_type_than_before_is_gone() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change("CREATE TABLE t (id TEXT PRIMARY KEY); INSERT INTO t VALUES ('abc'), ('5');")
        .await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy
        .change(
            "DELETE FROM t WHERE id = 'abc'; ALTER TABLE t ALTER id TYPE INT USING id::int;
             INSERT INTO t VALUES (7);",
        )
        .await;
    run_well(&world).await;
    assert!(happened(&world).await.contains(&"t.created#7".to_owned()));
    let gone: Vec<String> =
        happened(&world).await.into_iter().filter(|one| one.starts_with("t.deleted")).collect();
    assert_eq!(gone, ["t.deleted#abc"]);
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_not_gone() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let Legacy::Postgre(database) = &legacy else { return };
    // Roles belong to the whole server, which other tests use too.
    let role = database.url().rsplit_once('/').unwrap().1.to_owned();
    legacy
        .change(&format!(
            r#"CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2);
               CREATE ROLE "{role}" LOGIN; GRANT SELECT ON t TO "{role}";"#
        ))
        .await;
    let mut settings = legacy.settings(&json!(["t"]), &json!({"start": "backfill"}));
    settings["database"]["url"] = json!(database.url().replace("postgres@", &format!("{role}@")));
    source(&world, &settings).await;
    legacy.change("ALTER TABLE t ENABLE ROW LEVEL SECURITY;").await;
    let run = poll::run(&world, SOURCE).await;
    legacy.change(&format!(r#"DROP OWNED BY "{role}"; DROP ROLE "{role}";"#)).await;
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("row-level security"), "{error}");
    assert_eq!(happened(&world).await, ["t.created#1", "t.created#2"]);
}

/// MariaDB's catalogue of checks, which also reveals JSON columns, is empty for such a user.
#[tokio::test]
async fn json_is_json_to_whoever_may_read_the_table() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let Legacy::Maria(database) = &legacy else { return };
    let reader = database.reader_url();
    let (user, name) =
        (reader.split(['/', '@']).nth(2).unwrap(), reader.rsplit_once('/').unwrap().1);
    legacy
        .change(&format!(
            r#"CREATE TABLE t (id INT PRIMARY KEY, j JSON, f FLOAT); INSERT INTO t VALUES (1, '{{"a": 1}}', 1234567);
               REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{user}'@'%'; GRANT SELECT ON "{name}".t TO '{user}'@'%';"#
        ))
        .await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"start": "backfill"}))).await;
    let told = poll::events(&world, SOURCE).await;
    assert_eq!(told[0]["data"], json!({"id": 1, "j": {"a": 1}, "f": 1_234_567}));
    legacy
        .change(&format!(
            r#"GRANT SELECT ON "{name}".* TO '{user}'@'%'; UPDATE t SET f = 1234568;"#
        ))
        .await;
    run_well(&world).await;
    let told = poll::events(&world, SOURCE).await;
    assert_eq!((told.len(), &told[1]["data"]["f"]), (2, &json!(1_234_568)));
    let path = format!("/api/v1/events/{}", told[1]["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await["changes"]["changed"], json!(["f"]));
}

#[tokio::test]
async fn an_update_of_what_nested_too_deep_is_delivered_without_it() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "CREATE TABLE t (id INT PRIMARY KEY, j JSON);
             INSERT INTO t VALUES (1, (repeat('[', 3000) || repeat(']', 3000))::json);",
        )
        .await;
    let (receiver, secret) = receiver(&world).await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy.change("UPDATE t SET j = '1';").await;
    run_well(&world).await;
    let bodies = delivered(&receiver, &secret, 1).await;
    assert_eq!((&bodies[0]["event"], &bodies[0]["payload"]["j"]), (&json!("t.updated"), &json!(1)));
    assert_eq!(bodies[0].get("previous"), None);
}

#[tokio::test]
async fn a_trial_looks_at_every_table() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1);").await;
    let settings = legacy.settings(&json!(["t", "missing"]), &json!({}));
    world.post("/api/v1/sources", &settings).await;
    let call = Call::new(Method::POST, &format!("/api/v1/sources/{SOURCE}/test"));
    let answer = world.client().send(call).await.unwrap();
    problem(&answer, 502);
    assert!(answer.text().contains("missing: the table does not exist"), "{}", answer.text());
}
