//! Figures of a module's versions: calls, times of each role, and memory, in the API, on the page
//! and on the command line.

use std::process::Command;

use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::binary;

use crate::modules::{order, with_hostile};
use crate::pages::operator::Operator;

#[tokio::test]
async fn each_role_of_a_version_has_its_times_and_the_version_its_memory() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let before = world.get("/api/v1/modules/hostile").await;
    assert!(before[0]["figures"].is_null(), "{before:#}");
    for order_of in [json!({"do": "echo"}), json!({"do": "echo"}), json!({"do": "drop"})] {
        world.event(&order(&order_of)).await;
    }
    receiver.wait_for("/sink", 2).await;
    let is_counted = |found: &Value| found[0]["figures"]["calls"] == 3;
    let found = world.eventually("/api/v1/modules/hostile", is_counted).await;
    let figures = &found[0]["figures"];
    let calls =
        ["filter", "transform", "route"].map(|role| figures["roles"][role]["calls"].clone());
    assert_eq!(calls, [json!(3), json!(2), json!(2)], "{figures:#}");
    assert!(figures["roles"].get("channel").is_none(), "{figures:#}");
    for times in [figures, &figures["roles"]["filter"]] {
        let times = ["p50_ms", "p95_ms", "p99_ms"].map(|name| times[name].as_f64().unwrap());
        assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
    }
    let memory = figures["peak_memory_bytes"].as_u64().unwrap();
    assert!((65_536..=64 << 20).contains(&memory), "{memory}");

    let mut show = Command::new(binary());
    show.args(["module", "show", "hostile"]).env("WAYBILL_URL", world.server().address());
    let shown = show.env("WAYBILL_TOKEN", ADMIN_TOKEN).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown[0]["figures"]["roles"]["route"]["calls"], 2, "{shown:#}");
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/modules/hostile").await;
    for told in ["Times on this node", "transform", "Largest memory"] {
        assert!(page.contains(told), "{told}: {page}");
    }
}
