//! Sample cases of a manifest: run at the upload and on request, and a reason not to activate.

use std::process::{Command, Output};

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, guest};

use crate::modules::{order, upload};
use crate::support::{problem, with_manifest};

const MODULE: &str = "/api/v1/modules/hostile";

/// The guest `hostile`, which routes an echo to `sink`, with a case that expects it elsewhere or not.
fn with_cases(destination: &str) -> Option<Vec<u8>> {
    let expect = json!({"end": "out", "out": [{"dispatches": [{"endpoint": destination}]}]});
    let cases = json!([
        {"name": "an echo", "event": order(&json!({"do": "echo"})), "expect": expect},
        {"name": "a drop", "event": order(&json!({"do": "drop"})), "expect": {"end": "dropped"}},
    ]);
    Some(with_manifest(guest("hostile")?, &json!({"name": "hostile", "cases": cases})))
}

/// A world in which version 1 passes its cases and runs, and version 2 was uploaded to run and does
/// not; what that upload answered.
async fn world_with_both(backend: Backend) -> Option<(World, Value)> {
    let (good, bad) = (with_cases("sink")?, with_cases("elsewhere")?);
    let world = World::start(backend).await?;
    let answer = upload(&world, "hostile", good).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let made = answer.data();
    assert_eq!([&made["active"], &made["cases"]["passed"]], [&json!(true), &json!(2)], "{made:#}");
    let answer = upload(&world, "hostile", bad).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    Some((world, answer.data()))
}

#[rstest]
#[tokio::test]
async fn a_version_whose_case_fails_is_stored_and_activated_only_by_force(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, made)) = world_with_both(backend).await else { return };
    assert_eq!([&made["version"], &made["active"]], [&json!(2), &json!(false)], "{made:#}");
    let told = made["warning"].as_str().unwrap();
    assert!(
        told.contains("an echo") && told.contains(r#"expected "elsewhere", got "sink""#),
        "{told}"
    );
    let failure = &made["cases"]["failures"][0];
    assert_eq!(failure["at"], "/out/0/dispatches/0/endpoint", "{failure:#}");
    assert_eq!(failure["got"]["end"], "out");

    let activate = format!("{MODULE}/versions/2/activate");
    let answer = world.client().post(&activate, &json!({})).await.unwrap();
    let faults = problem(&answer, 409);
    assert!(faults[0].0.contains("an echo") && faults[0].1.contains("elsewhere"), "{faults:?}");
    let document = json!({"modules": [{"name": "hostile", "version": 2}]});
    let answer = world.client().put("/api/v1/config", &document).await.unwrap();
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text());
    let shown = world.get(MODULE).await;
    assert_eq!([&shown[0]["active"], &shown[1]["active"]], [&json!(true), &json!(false)]);

    world.post(&activate, &json!({"force": true})).await;
    let shown = world.get(MODULE).await;
    assert_eq!([&shown[0]["active"], &shown[1]["active"]], [&json!(false), &json!(true)]);
    assert_eq!(shown[1]["cases"]["failed"], 1, "{shown:#}");
    let is_forced = |row: &Value| row["route"].as_str().is_some_and(|r| r.ends_with("?force=true"));
    let rows = world.get("/api/v1/audit").await;
    assert!(rows.as_array().unwrap().iter().any(is_forced), "{rows:#}");
}

fn waybill(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("WAYBILL_URL", world.server().address());
    command.env("WAYBILL_TOKEN", ADMIN_TOKEN).output().unwrap()
}

#[tokio::test]
async fn the_command_line_runs_cases_and_says_what_differs() {
    let Some((world, _)) = world_with_both(Sqlite).await else { return };
    let passed = waybill(&world, &["module", "test", "hostile"]);
    assert!(passed.status.success(), "{passed:?}");
    let failed = waybill(&world, &["module", "test", "hostile", "--version", "2"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let told = String::from_utf8_lossy(&failed.stdout);
    assert!(told.contains("elsewhere"), "{told}");
    let refused = waybill(&world, &["module", "activate", "hostile", "2"]);
    assert!(!refused.status.success(), "{refused:?}");
    let forced = waybill(&world, &["module", "activate", "hostile", "2", "--force"]);
    assert!(forced.status.success(), "{forced:?}");
}

/// A case that never ends costs its own time, and says so.
#[tokio::test]
async fn a_case_runs_under_the_limits_of_live_events() {
    let cases = json!([{"name": "endless", "event": order(&json!({"do": "spin"}))}]);
    let manifest = json!({"name": "hostile", "cases": cases});
    let Some(component) = guest("hostile").map(|wasm| with_manifest(wasm, &manifest)) else {
        return;
    };
    let Some(world) = World::start(Sqlite).await else { return };
    let made = upload(&world, "hostile", component).await.data();
    let got = &made["cases"]["failures"][0]["got"];
    assert_eq!([&got["end"], &got["reason"]], ["failed", "module_timeout"], "{made:#}");
}
