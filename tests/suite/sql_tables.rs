//! Endpoints of kind `sql`: each delivery becomes a row of PostgreSQL or MariaDB, once.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use waybill_servers::{Cluster, MariaDb};
use waybill_tests::Backend::Sqlite;
use waybill_tests::world::{fresh_database, skip, text};
use waybill_tests::{Database, MariaDatabase, World};

use crate::support::{invoice, merged, patient_schedule};

/// The tables of the target system.
const TABLES: &str = "CREATE TABLE invoices (no INT PRIMARY KEY, total DECIMAL(10,2), paid BOOLEAN, \
     at TIMESTAMP NULL, note VARCHAR(20)); CREATE TABLE seen (no INT NOT NULL);";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine {
    Postgre,
    Maria,
}
use Engine::{Maria, Postgre};

/// The target database.
#[derive(Debug)]
pub(crate) enum Target {
    Postgre(Database),
    Maria(MariaDatabase),
}

impl Target {
    /// Creates a database on the server of all tests. Returns `None` without a server.
    pub(crate) async fn start(engine: Engine) -> Option<Self> {
        let target = match engine {
            Postgre => Self::Postgre(fresh_database().await?),
            Maria => Self::Maria(MariaDatabase::fresh().await?),
        };
        target.execute(TABLES).await;
        Some(target)
    }

    async fn execute(&self, sql: &str) {
        match self {
            Self::Postgre(database) => database.execute(sql).await,
            Self::Maria(database) => database.execute(sql).await,
        }
        .unwrap();
    }

    /// Returns the first column of a query, which must be a text.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        match self {
            Self::Postgre(database) => database.texts(query).await,
            Self::Maria(database) => database.texts(query).await,
        }
        .unwrap()
    }

    async fn count(&self, table: &str) -> String {
        let query = format!("SELECT CAST(COUNT(*) AS CHAR(10)) FROM {table}");
        self.texts(&query).await.concat().trim().to_owned()
    }

    /// Returns its URL without a user, as in an endpoint, and the user.
    pub(crate) fn place(&self) -> (String, &'static str) {
        let (url, user) = match self {
            Self::Postgre(database) => (database.url(), "postgres"),
            Self::Maria(database) => (database.url(), "root"),
        };
        (url.replacen(&format!("{user}@"), "", 1), user)
    }

    /// Returns an endpoint that writes invoices, with more settings.
    fn endpoint(&self, more: &Value) -> Value {
        let (url, user) = self.place();
        let settings = json!({"username": user, "password": "", "tls": "off",
            "columns": {"no": "data.id", "total": "data.total", "paid": "data.paid", "at": "time", "note": "data.note"}});
        json!({
            "name": "erp", "kind": "sql", "url": url, "settings": merged(settings, more),
            "events": ["invoice.*"], "retry": {"schedule": patient_schedule()},
        })
    }
}

/// Waits until nothing is waiting.
async fn settle(world: &World) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
}

async fn capture(world: &World, numbers: std::ops::Range<u32>) {
    let events: Vec<Value> = numbers.map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_inserted_with_its_types_and_no_digit_is_lost(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&target.endpoint(&json!({"table": "invoices"}))).await;
    let event = json!({"type": "invoice.paid", "occurred_at": "2026-01-02T03:04:05Z",
        "data": {"id": 7, "total": 1545.80, "paid": true, "note": "O'Brien\\; DROP"}});
    world.event(&event).await;
    settle(&world).await;
    let text = match engine {
        Postgre => {
            "SELECT no || '|' || total || '|' || paid || '|' || at || '|' || note FROM invoices"
        }
        Maria => {
            "SELECT CONCAT_WS('|', no, total, IF(paid, 'true', 'false'), at, note) FROM invoices"
        }
    };
    let found = target.texts(text).await;
    assert_eq!(found, ["7|1545.80|true|2026-01-02 03:04:05|O'Brien\\; DROP"]);
    assert_eq!(target.count("waybill_inbox").await, "1");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_there_is_replaced_by_its_keys(#[values(Postgre, Maria)] engine: Engine) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let upsert = json!({"table": "invoices", "keys": ["no"]});
    world.endpoint(&merged(target.endpoint(&upsert), &json!({"ordered": true}))).await;
    for note in ["first", "second"] {
        let data = json!({"id": 1, "total": "1.00", "note": note});
        world.event(&json!({"type": "invoice.paid", "resource_id": "1", "data": data})).await;
    }
    settle(&world).await;
    assert_eq!(target.texts("SELECT note FROM invoices").await, ["second"]);
    assert_eq!(target.count("waybill_inbox").await, "2");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_gets_its_values_bound(#[values(Postgre, Maria)] engine: Engine) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    target.execute("INSERT INTO invoices (no, total) VALUES (3, 1), (4, 1)").await;
    let cast = match engine {
        Postgre => "UPDATE invoices SET note = :note WHERE no = :no::int",
        Maria => "UPDATE invoices SET note = :note WHERE no = :no",
    };
    let more = json!({"statement": cast, "columns": {"no": "data.id", "note": "data.note"}});
    world.endpoint(&target.endpoint(&more)).await;
    let data = json!({"id": 3, "note": "' OR 1=1 --"});
    world.event(&json!({"type": "invoice.paid", "data": data})).await;
    settle(&world).await;
    assert_eq!(
        target.texts("SELECT note FROM invoices WHERE note IS NOT NULL").await,
        ["' OR 1=1 --"]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_do_not_fit_are_a_dead_letter_at_once(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&target.endpoint(&json!({"table": "invoices"}))).await;
    for data in
        [json!({"id": "x"}), json!({"id": 1, "note": "longer than twenty characters"}), json!({})]
    {
        world.event(&json!({"type": "invoice.paid", "data": data})).await;
    }
    let are_dead = |found: &Value| found.as_array().unwrap().len() == 3;
    let found = world.eventually("/api/v1/deliveries?status=dead", are_dead).await;
    assert!(found.as_array().unwrap().iter().all(|one| one["attempt_count"] == 1), "{found:#}");
    let letters = world.get("/api/v1/dead-letters?reason=rejected").await;
    assert_eq!(letters.as_array().unwrap().len(), 3, "{letters:#}");
    assert_eq!(target.count("invoices").await, "0");
    assert_eq!(target.count("waybill_inbox").await, "0");
}

/// The first deliveries open many connections at once, and each finds that the inbox is missing.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_create_the_inbox_at_once_all_deliver(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&target.endpoint(&json!({"table": "invoices"}))).await;
    capture(&world, 0..40).await;
    settle(&world).await;
    assert_eq!(target.count("invoices").await, "40");
    let found = world.get("/api/v1/deliveries?limit=200").await;
    let retried: Vec<&Value> =
        found.as_array().unwrap().iter().filter(|one| one["attempt_count"] != 1).collect();
    assert_eq!(retried, Vec::<&Value>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_comes_later_gets_its_rows(#[values(Postgre, Maria)] engine: Engine) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let more = json!({"table": "later", "columns": {"no": "data.id"}});
    world.endpoint(&target.endpoint(&more)).await;
    capture(&world, 0..1).await;
    let tried = |found: &Value| found[0]["attempt_count"].as_u64().is_some_and(|n| n > 0);
    let found = world.eventually("/api/v1/deliveries", tried).await;
    let id = text(&found[0], "id");
    let attempt = world.get(&format!("/api/v1/deliveries/{id}")).await["attempts"][0].clone();
    assert_eq!(attempt["error_class"], "deferred", "{attempt}");
    assert!(text(&attempt, "error").contains("does not exist"), "{attempt}");
    target.execute("CREATE TABLE later (no INT)").await;
    settle(&world).await;
    assert_eq!(target.count("later").await, "1");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_delivery_is_one_row_however_often_waybill_is_killed(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(target) = Target::start(engine).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    // The table accepts a number any number of times.
    let more = json!({"table": "seen", "columns": {"no": "data.id"}});
    world.endpoint(&target.endpoint(&more)).await;
    for round in 0..6 {
        capture(&world, round * 100..round * 100 + 100).await;
        // A moment during the writing, so the test does not wait for a condition.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 15)).await;
        world.kill9();
        world.restart();
    }
    settle(&world).await;
    assert_eq!(target.count("seen").await, "600");
    assert_eq!(target.count("(SELECT DISTINCT no FROM seen) AS numbers").await, "600");
    assert_eq!(target.count("waybill_inbox").await, "600");
    let delivered = world.get("/api/v1/deliveries?limit=1&status=dead").await;
    assert_eq!(delivered, json!([]));
}

/// A server of the test, which may be stopped.
enum OwnServer {
    Postgre(Cluster),
    Maria(MariaDb),
}

impl OwnServer {
    async fn start(engine: Engine) -> Option<(Self, Target)> {
        let is_installed = match engine {
            Postgre => Cluster::find_binaries().is_some(),
            Maria => MariaDb::is_installed(),
        };
        if !is_installed {
            skip(&format!("{engine:?} is not on this machine"));
            return None;
        }
        let (server, target) = match engine {
            Postgre => {
                let server = Cluster::start().unwrap();
                let database = Database::create(&server.url("postgres")).await.unwrap();
                (Self::Postgre(server), Target::Postgre(database))
            }
            Maria => {
                let server = MariaDb::start().unwrap();
                let database = MariaDatabase::create(&server.url("")).await.unwrap();
                (Self::Maria(server), Target::Maria(database))
            }
        };
        target.execute(TABLES).await;
        Some((server, target))
    }

    fn restart(&mut self) {
        match self {
            Self::Postgre(server) => server.stop().and_then(|()| server.resume()),
            Self::Maria(server) => server.stop().and_then(|()| server.resume()),
        }
        .unwrap();
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_delivery_is_one_row_when_the_database_restarts_in_mid_stream(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some((mut server, target)) = OwnServer::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let more = json!({"table": "seen", "columns": {"no": "data.id"}});
    world.endpoint(&target.endpoint(&more)).await;
    for round in 0..3 {
        capture(&world, round * 200..round * 200 + 200).await;
        let begun = |found: &Value| *found != json!([]);
        world.eventually("/api/v1/deliveries?limit=1&status=delivered", begun).await;
        server.restart();
    }
    settle(&world).await;
    assert_eq!(target.count("seen").await, "600");
    assert_eq!(target.count("(SELECT DISTINCT no FROM seen) AS numbers").await, "600");
    assert_eq!(target.count("waybill_inbox").await, "600");
    // Dropped before the server ends.
    drop(target);
}

#[rstest]
#[case("localhost", "verify", true, true)]
#[case("localhost", "verify", false, false)]
#[case("127.0.0.1", "verify", true, false)]
#[case("127.0.0.1", "require", false, true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_trusted_by_its_certificate_and_its_name(
    #[case] host: &str,
    #[case] tls: &str,
    #[case] is_listed: bool,
    #[case] is_delivered: bool,
) {
    if Cluster::find_binaries().is_none() {
        skip("PostgreSQL is not on this machine");
        return;
    }
    let (certificate, key) = crate::queues::certificate();
    let cluster = Cluster::start_tls(&certificate, &key).unwrap();
    let target = Target::Postgre(Database::create(&cluster.url("postgres")).await.unwrap());
    target.execute(TABLES).await;
    let Some(world) = World::start(Sqlite).await else { return };
    let more = json!({"table": "seen", "columns": {"no": "data.id"}, "tls": tls});
    let mut endpoint = target.endpoint(&more);
    if is_listed {
        endpoint["settings"]["ca"] = json!(certificate);
    }
    endpoint["url"] = json!(endpoint["url"].as_str().unwrap().replace("127.0.0.1", host));
    endpoint["retry"] = json!({"schedule": ["1h"]});
    world.endpoint(&endpoint).await;
    capture(&world, 0..1).await;
    let tried = |found: &Value| found[0]["attempt_count"].as_u64().is_some_and(|n| n > 0);
    let found = world.eventually("/api/v1/deliveries", tried).await;
    let id = text(&found[0], "id");
    let delivery = world.get(&format!("/api/v1/deliveries/{id}")).await;
    assert_eq!(delivery["status"] == "delivered", is_delivered, "{delivery}");
    if !is_delivered {
        assert_eq!(delivery["attempts"][0]["error_class"], "tls", "{delivery}");
    }
    // Dropped before the server ends.
    drop(target);
}
