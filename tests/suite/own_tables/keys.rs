//! Keys of all kinds (numbers, uuids and texts), read in the order of the database.

use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, happened_sorted, run_well, source};

/// A type of keys: its name on PostgreSQL and on MariaDB, and the form of the n-th key.
struct Kind {
    postgres: &'static str,
    maria: &'static str,
    key: fn(u32) -> String,
}

/// Returns a uuid whose order in MariaDB differs from that of its digits.
fn uuid(n: u32) -> String {
    let mixed = n.wrapping_mul(2_654_435_761);
    format!("{mixed:08x}-0000-1000-8000-{n:012x}")
}

/// Returns texts that are hard to quote, to order or to distinguish. The server's collations order
/// them unlike their bytes.
fn odd(n: u32) -> String {
    let forms =
        ["it's", r#"say "hi""#, "back\\slash", "Größe", "日本", "a%_b", "; DROP TABLE t; --", "$1"];
    let form = forms[n as usize % forms.len()];
    match n % 3 {
        0 => format!("{form} {n}"),
        1 => format!("{n}{form}"),
        _ => format!("  {}-{form}", n * 7_919 % 1_000),
    }
}

const KINDS: [(&str, Kind); 8] = [
    ("int", Kind { postgres: "int", maria: "int", key: |n| format!("{}", i64::from(n) - 100) }),
    (
        "bigint",
        Kind {
            postgres: "bigint",
            maria: "bigint unsigned",
            key: |n| format!("{}", u64::from(n) * 9_007_199_254_740_993),
        },
    ),
    (
        "numeric",
        Kind {
            postgres: "numeric",
            maria: "decimal(40,3)",
            key: |n| format!("{n}234567890123456789012.125"),
        },
    ),
    ("uuid", Kind { postgres: "uuid", maria: "uuid", key: uuid }),
    // Neither orders texts by their bytes.
    ("text", Kind { postgres: r#"text COLLATE "en-x-icu""#, maria: "varchar(80)", key: odd }),
    (
        "char",
        Kind {
            postgres: "char(12)",
            maria: "char(12) character set latin1",
            key: |n| format!("é{n}"),
        },
    ),
    (
        "time",
        Kind {
            postgres: "timestamptz",
            maria: "datetime(6)",
            key: |n| format!("2026-03-{:02} 01:{:02}:00.00{n:04}", n % 28 + 1, n % 60),
        },
    ),
    ("date", Kind { postgres: "date", maria: "date", key: |n| format!("{}-02-03", 1_000 + n) }),
];

fn quoted(text: &str, engine: Engine) -> String {
    let text = if engine == Maria { text.replace('\\', r"\\") } else { text.to_owned() };
    format!("'{}'", text.replace('\'', "''"))
}

#[rstest]
#[tokio::test]
async fn rows_are_told_apart_by_keys_of_many_types(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(0, 1, 2, 3, 4, 5, 6, 7)] kind: usize,
) {
    let (label, kind) = &KINDS[kind];
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let of = if engine == Maria { kind.maria } else { kind.postgres };
    legacy.change(&format!("CREATE TABLE t (k {of} PRIMARY KEY, v INT);")).await;
    let insert = |numbers: std::ops::Range<u32>| {
        let row = |n| format!("({}, {n})", quoted(&(kind.key)(n), engine));
        let rows: Vec<String> = numbers.map(row).collect();
        format!("INSERT INTO t VALUES {};", rows.join(", "))
    };
    legacy.change(&insert(1..300)).await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    assert_eq!(happened_sorted(&world).await, [""; 0], "{label}");
    legacy.change(&insert(300..600)).await;
    legacy.change("UPDATE t SET v = -1 WHERE v % 2 = 0 AND v < 300;").await;
    legacy.change("DELETE FROM t WHERE v % 3 = 0 AND v % 2 <> 0;").await;
    run_well(&world).await;
    run_well(&world).await;
    let found = happened_sorted(&world).await;
    let count = |what: &str| found.iter().filter(|name| name.starts_with(what)).count();
    assert_eq!(count("t.created"), 300 - 50, "{label}: {found:?}");
    assert_eq!(count("t.updated"), 149, "{label}: {found:?}");
    assert_eq!(count("t.deleted"), 50, "{label}: {found:?}");
    legacy.change("DELETE FROM t;").await;
    run_well(&world).await;
    assert_eq!(happened_sorted(&world).await.len(), found.len() + 599 - 100, "{label}");
}

#[rstest]
#[tokio::test]
async fn texts_that_differ_only_in_case_are_different_rows(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let of = if engine == Maria { "varchar(20) COLLATE utf8mb4_bin" } else { "varchar(20)" };
    legacy.change(&format!("CREATE TABLE t (k {of} NOT NULL UNIQUE, v INT);")).await;
    let tables = json!([{"table": "t", "key": "k"}]);
    source(&world, &legacy.settings(&tables, &json!({}))).await;
    legacy
        .change("INSERT INTO t VALUES ('a', 1), ('A', 1), ('ä', 1), ('Ä', 1), ('a\u{1f600}', 1);")
        .await;
    run_well(&world).await;
    let wanted =
        ["t.created#A", "t.created#a", "t.created#a\u{1f600}", "t.created#Ä", "t.created#ä"];
    assert_eq!(happened_sorted(&world).await, wanted);
    legacy.change("DELETE FROM t WHERE k = 'A'; UPDATE t SET v = 2 WHERE k = 'ä';").await;
    run_well(&world).await;
    let found = happened_sorted(&world).await;
    assert!(found.contains(&"t.deleted#A".to_owned()), "{found:?}");
    assert!(found.contains(&"t.updated#ä".to_owned()), "{found:?}");
    assert_eq!(found.len(), 7, "{found:?}");
}

#[tokio::test]
async fn a_text_that_is_written_otherwise_is_another_row_where_case_does_not_count() {
    let Some(legacy) = Legacy::start(Maria).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy.change("CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY);").await;
    legacy.change("INSERT INTO t VALUES ('abc'), ('B'), ('c');").await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({}))).await;
    legacy.change("UPDATE t SET k = 'ABC' WHERE k = 'abc';").await;
    run_well(&world).await;
    assert_eq!(happened_sorted(&world).await, ["t.created#ABC", "t.deleted#abc"]);
}

#[rstest]
#[tokio::test]
async fn bytes_and_schemas_and_keys_that_no_event_can_carry(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let (of, value) = if engine == Maria {
        ("varbinary(20)", "x'0027ff'")
    } else {
        ("bytea", r"'\x0027ff'::bytea")
    };
    legacy.change(&format!("CREATE TABLE t (k {of} PRIMARY KEY, v INT);")).await;
    legacy.change("CREATE TABLE u (k VARCHAR(300) PRIMARY KEY, v INT);").await;
    source(&world, &legacy.settings(&json!(["t", "u"]), &json!({}))).await;
    legacy.change(&format!("INSERT INTO t VALUES ({value}, 1);")).await;
    let long = "x".repeat(300);
    legacy.change(&format!("INSERT INTO u VALUES ('', 1), ('{long}', 2), ('a\nb', 3);")).await;
    run_well(&world).await;
    legacy.change("UPDATE t SET v = 2; DELETE FROM u;").await;
    run_well(&world).await;
    let found = happened_sorted(&world).await;
    let id = if engine == Maria { "ACf/" } else { r"\x0027ff" };
    assert!(found.contains(&format!("t.created#{id}")), "{found:?}");
    assert!(found.contains(&format!("t.updated#{id}")), "{found:?}");
    let count = |what: &str| found.iter().filter(|name| name.starts_with(what)).count();
    assert_eq!((count("u.created"), count("u.deleted")), (3, 3), "{found:?}");
}

#[tokio::test]
async fn a_table_of_another_schema_is_read() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    legacy
        .change(
            r#"CREATE SCHEMA "My Sales"; CREATE TABLE "My Sales".orders (id INT PRIMARY KEY);
            CREATE TABLE parts (id INT, at DATE, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
            CREATE TABLE orders (id INT PRIMARY KEY) PARTITION BY HASH (id);
            CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE orders_1 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1);"#,
        )
        .await;
    let tables = json!(["orders", {"table": "My Sales.orders", "resource": "sale"}]);
    source(&world, &legacy.settings(&tables, &json!({}))).await;
    legacy
        .change(r#"INSERT INTO orders VALUES (1), (2); INSERT INTO "My Sales".orders VALUES (3);"#)
        .await;
    run_well(&world).await;
    let wanted = ["orders.created#1", "orders.created#2", "sale.created#3"];
    assert_eq!(happened_sorted(&world).await, wanted);
}
