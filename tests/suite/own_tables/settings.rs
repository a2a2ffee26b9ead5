//! Faults of the settings are reported with their place, and an export can be applied again.

use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::binary;

use super::Engine::Postgre;
use super::{Legacy, NEVER, SOURCE};
use crate::support::{merged, problem};

fn good() -> Value {
    json!({"url": "postgres://reader@127.0.0.1:1/legacy", "own_tables": ["orders"]})
}

#[tokio::test]
async fn mistakes_are_named_by_their_place() {
    let Some(world) = World::start(Sqlite).await else { return };
    let many: Vec<String> = (0..101).map(|n| format!("t{n}")).collect();
    for (mistake, path) in [
        (json!({"own_tables": []}), "database.url"),
        (json!({"own_tables": ["a", "b\u{0}"]}), "database.own_tables[1].table"),
        (json!({"own_tables": ["a", {"table": "b", "kye": "id"}]}), "database.own_tables[1]"),
        (json!({"own_tables": [{"table": "b", "key": ""}]}), "database.own_tables[0].key"),
        (json!({"own_tables": ["a b"]}), "database.own_tables[0].resource"),
        (json!({"own_tables": ["a", "a"]}), "database.own_tables[1].table"),
        (
            json!({"own_tables": [{"table": "a", "exclude": [""]}]}),
            "database.own_tables[0].exclude[0]",
        ),
        (json!({"own_tables": many}), "database.own_tables"),
        (json!({"tables": ["invoices"]}), "database.tables"),
        (json!({"prefix": "crm_"}), "database.prefix"),
        (json!({"url": "oracle://reader@127.0.0.1/legacy"}), "database.url"),
        (json!({"url": "postgres://127.0.0.1/legacy"}), "database.url"),
        (json!({"url": format!("postgres://reader:{NEVER}@127.0.0.1/legacy")}), "database.url"),
        (
            json!({"url": "postgres://reader@127.0.0.1/legacy?sslrootcert=/etc/passwd"}),
            "database.url",
        ),
        (
            json!({"url": "postgres://reader@127.0.0.1/legacy?sslmode=require&host=x"}),
            "database.url",
        ),
        (json!({"url": "postgres://reader@127.0.0.1/legacy?sslmode=allow"}), "database.url"),
        (json!({"url": "postgres://reader@%2Fvar%2Frun/legacy"}), "database.url"),
    ] {
        let database = merged(good(), &mistake);
        let settings =
            json!({"name": SOURCE, "kind": "database", "secret": NEVER, "database": database});
        let answer = world.client().post("/api/v1/sources", &settings).await.unwrap();
        let faults = problem(&answer, 422);
        let named = faults.iter().any(|(at, _)| at == path);
        assert!(named, "{mistake} is not named by {path}: {faults:?}");
        assert!(!answer.text().contains(NEVER), "{}", answer.text());
    }
    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        let url = format!("postgresql://reader@127.0.0.1:1/legacy?sslmode={mode}");
        let database = merged(good(), &json!({"url": url}));
        let settings = json!({"name": mode, "kind": "database", "secret": "x", "enabled": false, "database": database});
        world.post("/api/v1/sources", &settings).await;
    }
}

#[tokio::test]
async fn tables_are_named_on_the_command_line() {
    let Some(world) = World::start(Sqlite).await else { return };
    let run = |name: &'static str, more: &'static [&'static str]| {
        let made = std::process::Command::new(binary())
            .args(["source", "create", name, "--secret", "x", "--set", "enabled=false"])
            .args(["--database", "postgres://reader@127.0.0.1:1/legacy"])
            .args(more)
            .env("WAYBILL_URL", world.server().address())
            .env("WAYBILL_TOKEN", ADMIN_TOKEN)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    run("one", &["--table", "orders", "--table", "sales.lines"]);
    run("two", &["--set", r#"database.own_tables=[{"table":"orders","key":"nr"}]"#]);
    let tables = async |name: &str| {
        world.get(&format!("/api/v1/sources/{name}")).await["database"]["own_tables"].clone()
    };
    assert_eq!(tables("one").await, json!([{"table": "orders"}, {"table": "sales.lines"}]));
    assert_eq!(tables("two").await, json!([{"table": "orders", "key": "nr"}]));
}

#[tokio::test]
async fn what_is_exported_is_applied_again_without_a_change() {
    let Some(legacy) = Legacy::start(Postgre).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let tables = json!(["plain", {"table": "s.Order \"x\"", "key": "Nr", "resource": "order", "exclude": ["a", "b"]}]);
    let settings = merged(legacy.settings(&tables, &json!({})), &json!({"enabled": false}));
    let made = world.post("/api/v1/sources", &settings).await;
    assert_eq!(made["database"]["own_tables"][0], json!({"table": "plain"}));
    assert_eq!(made["database"]["own_tables"][1], tables[1]);
    let document = world.get("/api/v1/config").await;
    let answer = world.client().put("/api/v1/config", &document).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changes = answer.data()["changes"].clone();
    assert!(!changes.as_array().unwrap().is_empty(), "{changes:#}");
    let same = |change: &Value| change["action"] == "unchanged";
    assert!(changes.as_array().unwrap().iter().all(same), "{changes:#}");
}
