//! Values keep their types, and numbers all of their digits. Long values are neither stored nor
//! held in memory.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::world::text;

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, delivered, happened, receiver, run_well, source};
use crate::poll;

/// Returns the last event of the source from the API, byte for byte.
async fn last(world: &World) -> String {
    let id = text(poll::events(world, SOURCE).await.last().unwrap(), "id");
    world.client().get(&format!("/api/v1/events/{id}")).await.unwrap().text()
}

const POSTGRES: &str = r"CREATE TABLE t (
    id BIGINT PRIMARY KEY, n NUMERIC, f FLOAT8, b BOOLEAN, j JSONB, a INT[], at TIMESTAMPTZ, d DATE, raw BYTEA, s TEXT, none TEXT);";
const POSTGRES_ROW: &str = r#"INSERT INTO t VALUES (9223372036854775807, 12345678901234567890.12345678901234567890,
    1e300, true, '{"deep": {"n": 98765432109876543210}}', '{1,2}', '2026-03-01 12:00:00+02', '2026-03-02', '\x00ff',
    E'a "b"\n\u00e9\\', NULL);"#;
const POSTGRES_DATA: &str = concat!(
    r#"{"id":9223372036854775807,"n":12345678901234567890.12345678901234567890,"f":1e+300,"b":true,"#,
    r#""j":{"deep": {"n": 98765432109876543210}},"a":[1,2],"at":"2026-03-01T10:00:00+00:00","d":"2026-03-02","#,
    r#""raw":"\\x00ff","s":"a \"b\"\né\\","none":null}"#
);

const MARIA: &str = r"CREATE TABLE t (
    id BIGINT UNSIGNED PRIMARY KEY, n DECIMAL(50,20), f DOUBLE, b BIT(1), j JSON, z INT(8) ZEROFILL, at TIMESTAMP NULL, d DATE,
    raw BLOB, s TEXT, none TEXT, e ENUM('x','y'));";
const MARIA_ROW: &str = r#"SET time_zone = '+02:00'; INSERT INTO t VALUES (18446744073709551615,
    12345678901234567890.12345678901234567890, 1e300, b'1', '{"deep": {"n": 98765432109876543210}}', 42,
    '2026-03-01 12:00:00', '2026-03-02', x'00ff', 'a "b"\né\\', NULL, 'y');"#;
const MARIA_DATA: &str = concat!(
    r#"{"id":18446744073709551615,"n":12345678901234567890.12345678901234567890,"f":1e300,"b":1,"#,
    r#""j":{"deep": {"n": 98765432109876543210}},"z":42,"at":"2026-03-01 10:00:00","d":"2026-03-02","raw":"AP8=","#,
    r#""s":"a \"b\"\né\\","none":null,"e":"y"}"#
);

#[rstest]
#[tokio::test]
async fn values_come_as_what_they_are(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(backend).await else { return };
    let (table, row, data) = if engine == Maria {
        (MARIA, MARIA_ROW, MARIA_DATA)
    } else {
        (POSTGRES, POSTGRES_ROW, POSTGRES_DATA)
    };
    legacy.change(table).await;
    let (receiver, secret) = receiver(&world).await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy.change(row).await;
    run_well(&world).await;
    let found = last(&world).await;
    assert!(found.contains(data), "{found}\nwanted: {data}");
    legacy.change("UPDATE t SET n = 12345678901234567890.12345678901234567891;").await;
    run_well(&world).await;
    let found = last(&world).await;
    let changes = r#"{"changed":["n"],"previous":{"n":12345678901234567890.12345678901234567890}}"#;
    assert!(found.contains(changes), "{found}");
    // In JavaScript such a number is a text.
    let bodies = delivered(&receiver, &secret, 2).await;
    assert_eq!(bodies[1]["payload"]["n"], "12345678901234567890.12345678901234567891");
    assert_eq!(bodies[1]["previous"]["n"], "12345678901234567890.12345678901234567890");
}

/// Returns the largest memory that the server has ever had, in MiB.
fn peak(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.server().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[rstest]
#[tokio::test]
async fn long_rows_are_told_without_what_changed_and_read_a_few_at_a_time(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    // The first rows are short, so that many of the long ones are requested at once.
    let (long, series) = if engine == Maria {
        ("LONGTEXT", "SELECT seq, IF(seq <= 60, 'short', REPEAT('x', 1000000)) FROM seq_1_to_400")
    } else {
        (
            "TEXT",
            "SELECT n, CASE WHEN n <= 60 THEN 'short' ELSE repeat('x', 1000000) END FROM generate_series(1, 400) n",
        )
    };
    legacy.change(&format!("CREATE TABLE t (id INT PRIMARY KEY, s {long});")).await;
    legacy.change(&format!("INSERT INTO t {series};")).await;
    let before = peak(&world);
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    let run = run_well(&world).await;
    assert_eq!(run["rows"], 400, "{run:#}");
    let more = peak(&world) - before;
    assert!(more < 120, "{more} MiB for 340 MB in chunks of 8");
    assert_eq!(happened(&world).await, [""; 0]);

    legacy
        .change("UPDATE t SET s = CONCAT(s, 'y') WHERE id = 70; DELETE FROM t WHERE id = 80;")
        .await;
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["t.updated#70", "t.deleted#80"]);
    let found = poll::events(&world, SOURCE).await;
    let updated = world.get(&format!("/api/v1/events/{}", text(&found[0], "id"))).await;
    assert_eq!(updated["data"]["s"].as_str().unwrap().len(), 1_000_001);
    assert_eq!(updated.get("changes"), None, "nobody knows what it was");
    let deleted: Value = world.get(&format!("/api/v1/events/{}", text(&found[1], "id"))).await;
    assert_eq!(deleted["data"], json!({"id": 80}));
}
