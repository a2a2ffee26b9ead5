//! A fault of a table or its database is reported in a sentence, and never counts as deleted rows.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::world::skip;
use waybill_tests::{Cluster, Database, World};

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, first_run, happened, happened_sorted, run_well, source};
use crate::poll;
use crate::support::merged;

/// A right and a wrong password.
const PASSWORDS: (&str, &str) = ("only-the-reader-knows", "a-wrong-password");

/// Fails the test unless a run reports the fault in these words and without a secret.
fn complains(run: &Value, words: &[&str]) {
    let error = run["error"].as_str().unwrap_or_else(|| panic!("no error: {run:#}"));
    for word in words {
        assert!(error.contains(word), "`{word}` is not named: {error}");
    }
    for secret in [PASSWORDS.0, PASSWORDS.1] {
        assert!(!run.to_string().contains(secret), "{run:#}");
    }
}

#[rstest]
#[tokio::test]
async fn a_table_that_cannot_be_read_keeps_no_other_from_being_read(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "CREATE TABLE good (id INT PRIMARY KEY, v INT);
             CREATE TABLE gone (id INT PRIMARY KEY, v INT);
             CREATE TABLE pairs (a INT, b INT, PRIMARY KEY (a, b));
             CREATE TABLE plain (id INT);
             CREATE TABLE nullable (id INT UNIQUE);
             CREATE VIEW seen AS SELECT id FROM good;
             INSERT INTO gone VALUES (1, 1), (2, 2);",
        )
        .await;
    let tables = json!([
        "gone", "pairs", "plain", {"table": "nullable", "key": "id"}, {"table": "seen", "key": "id"},
        "missing", {"table": "Good", "resource": "other"}, "good",
    ]);
    let run = first_run(&world, &legacy.settings(&tables, &json!({}))).await;
    complains(&run, &["pairs: its primary key has 2 columns (a, b)", "`key`"]);
    complains(&run, &["plain: it has no primary key", "nullable: its column `id` may be NULL"]);
    complains(&run, &["seen: the table does not exist", "views are not supported"]);
    complains(&run, &["missing: the table does not exist", "Good: the table does not exist"]);
    assert!(!run["error"].as_str().unwrap().contains("good:"), "{run:#}");

    legacy.change("DROP TABLE gone; INSERT INTO good VALUES (7, 7);").await;
    let run = poll::run(&world, SOURCE).await;
    complains(&run, &["gone: the table does not exist"]);
    assert_eq!(happened(&world).await, ["good.created#7"], "what is dropped is not emptied");
    legacy
        .change("CREATE TABLE gone (id INT PRIMARY KEY, v INT); INSERT INTO gone VALUES (1, 1), (3, 3);")
        .await;
    poll::run(&world, SOURCE).await;
    let wanted = ["gone.created#3", "gone.deleted#2", "good.created#7"];
    assert_eq!(happened_sorted(&world).await, wanted, "and is read where it comes back");
}

#[rstest]
#[tokio::test]
async fn a_column_that_is_not_to_be_read_and_not_there_stops_the_table(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE t (id INT PRIMARY KEY, password INT);").await;
    let tables = json!([{"table": "t", "exclude": ["Password"]}]);
    let run = first_run(&world, &legacy.settings(&tables, &json!({}))).await;
    complains(&run, &["t: it has no column `Password`", "exclude"]);
}

#[tokio::test]
async fn keys_whose_order_is_another_than_that_of_their_texts_are_refused() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            "CREATE TABLE a (k ENUM('x','y') PRIMARY KEY); CREATE TABLE b (k DOUBLE PRIMARY KEY);
             CREATE TABLE c (k TEXT, UNIQUE (k(10)));",
        )
        .await;
    let run = first_run(&world, &legacy.settings(&json!(["a", "b", "c"]), &json!({}))).await;
    complains(
        &run,
        &["a: its key `k` is of the type enum", "b: its key `k` is of the type double"],
    );
    complains(&run, &["c: it has no primary key"]);
}

/// Starts a PostgreSQL that requires passwords, with a database and a user who may read its table.
async fn strict() -> Option<(Cluster, Database)> {
    if Cluster::find_binaries().is_none() {
        skip("PostgreSQL is not on this machine");
        return None;
    }
    let mut cluster = Cluster::start().unwrap();
    let database = Database::create(&cluster.url("postgres")).await.unwrap();
    let (password, _) = PASSWORDS;
    database
        .execute(&format!(
            r"CREATE ROLE reader LOGIN PASSWORD '{password}';
            CREATE TABLE orders (id INT PRIMARY KEY, v INT); INSERT INTO orders VALUES (1, 1), (2, 2);
            CREATE TABLE others (id INT PRIMARY KEY); GRANT SELECT ON orders, others TO reader;
            DO $$ BEGIN EXECUTE format('COPY (VALUES (%L), (%L)) TO %L', 'host all reader all scram-sha-256',
                'host all all all trust', current_setting('hba_file')); END $$;"
        ))
        .await
        .unwrap();
    cluster.stop().unwrap();
    cluster.resume().unwrap();
    Some((cluster, database))
}

fn reader(database: &Database) -> String {
    database.url().replace("postgres@", "reader@")
}

fn settings(url: &str, secret: &str) -> Value {
    let database = json!({"url": url, "every": "1h", "own_tables": ["orders", "others"]});
    json!({"name": SOURCE, "kind": "database", "secret": secret, "database": database})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgresql_refuses_is_said_and_put_right() {
    let Some((mut cluster, database)) = strict().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let (right, wrong) = PASSWORDS;
    let url = reader(&database);
    complains(&first_run(&world, &settings(&url, wrong)).await, &["refused the user", "secret"]);
    let path = format!("/api/v1/sources/{SOURCE}");
    let changed = world.client().patch(&path, &json!({"secret": right})).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    run_well(&world).await;

    database
        .execute("REVOKE SELECT ON orders FROM reader; INSERT INTO others VALUES (5);")
        .await
        .unwrap();
    complains(
        &poll::run(&world, SOURCE).await,
        &["orders: the user may not read it", "grant SELECT"],
    );
    database
        .execute("GRANT SELECT ON orders TO reader; DELETE FROM orders WHERE id = 2;")
        .await
        .unwrap();
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["others.created#5", "orders.deleted#2"]);

    for (name, url, words) in [
        ("nowhere", format!("{}/nowhere", url.rsplit_once('/').unwrap().0), "no such database"),
        ("nobody", "postgres://reader@127.0.0.1:1/x".to_owned(), "cannot be reached"),
        ("clear", format!("{url}?sslmode=require"), "sslmode"),
    ] {
        let other = merged(settings(&url, right), &json!({"name": name}));
        complains(&first_run(&world, &other).await, &[words]);
        assert_eq!(
            world.client().delete(&format!("/api/v1/sources/{name}")).await.unwrap().status,
            204
        );
    }
    cluster.stop().unwrap();
    complains(&poll::run(&world, SOURCE).await, &["cannot be reached"]);
    cluster.resume().unwrap();
    database.execute("INSERT INTO orders VALUES (3, 3);").await.unwrap();
    run_well(&world).await;
    let wanted = ["orders.created#3", "orders.deleted#2", "others.created#5"];
    assert_eq!(happened_sorted(&world).await, wanted);
    let output = world.server().output();
    assert!(!output.contains(right) && !output.contains(wrong), "{output}");
}

#[tokio::test]
async fn a_right_that_mariadb_takes_away_is_said() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let Legacy::Maria(database) = &legacy else { return };
    legacy.change("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2);").await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    let name = database.texts("SELECT DATABASE()").await.unwrap().concat();
    legacy.change(&format!(r#"REVOKE SELECT ON "{name}".* FROM '{name}'@'%';"#)).await;
    let run = poll::run(&world, SOURCE).await;
    assert!(run["error"].is_string(), "{run:#}");
    legacy
        .change(&format!(
            r#"GRANT SELECT ON "{name}".* TO '{name}'@'%'; INSERT INTO t VALUES (3);"#
        ))
        .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["t.created#3"]);
}
