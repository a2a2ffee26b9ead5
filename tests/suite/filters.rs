//! `where` of endpoints and flows: the events and drafts that a condition accepts, the trace of
//! those that it excludes, and invalid conditions.

use crate::support::{endpoint_with, merged, problem};
use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Receiver, World};

const CONFIG: &str = "/api/v1/config";
const LARGE: &str = "double(data.total) >= 1000.0";

fn invoice(id: u32, total: &str) -> Value {
    json!({"type": "invoice.paid", "data": {"id": id, "total": total}})
}

async fn trace(world: &World, event: &str) -> Value {
    world.get(&format!("/api/v1/events/{event}")).await
}

/// Returns the trace of an event once a flow's modules have run.
async fn planned(world: &World, event: &str) -> Value {
    let path = format!("/api/v1/events/{event}");
    world.eventually(&path, |found| found["waiting"] == json!([])).await
}

fn reasons(trace: &Value) -> Vec<String> {
    let steps = trace["steps"].as_array().unwrap().iter();
    steps.filter_map(|step| step["reason"].as_str().map(str::to_owned)).collect()
}

async fn patch(world: &World, path: &str, change: Value) {
    let answer = world.client().patch(path, &change).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

/// Starts a world with the module `hostile` in a flow to `sink`.
async fn with_hostile(flow: &Value, endpoint: &Value) -> Option<(World, Receiver)> {
    let component = guest("hostile")?;
    let world = World::start(Sqlite).await?;
    let receiver = Receiver::start().await;
    let upload = Call::post("/api/v1/modules/hostile?activate=true", "application/wasm", component);
    let answer = world.client().send(upload).await.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&merged(sink, endpoint)).await;
    let base = json!({"name": "f", "events": ["hostile.*"], "modules": [{"name": "hostile"}],
                      "endpoints": ["sink"]});
    world.post("/api/v1/flows", &merged(base, flow)).await;
    Some((world, receiver))
}

#[rstest]
#[tokio::test]
async fn an_endpoint_takes_what_its_where_lets_on(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let large = endpoint_with("large", &receiver.url("/large"), &json!({"where": LARGE}));
    world.endpoint(&large).await;
    world.endpoint(&endpoint_with("all", &receiver.url("/all"), &json!({}))).await;
    let small = world.event(&invoice(1, "900.00")).await;
    world.event(&invoice(2, "1000.00")).await;
    receiver.wait_for("/all", 2).await;
    assert_eq!(receiver.first("/large").await.json()["payload"]["id"], 2);
    let found = trace(&world, &small).await;
    assert_eq!(found["deliveries"].as_array().unwrap().len(), 1, "{found:#}");
    let told = r#"endpoint `large`: where was false: double(data.total) >= 1000.0 (data.total = "900.00")"#;
    assert_eq!(reasons(&found), [told]);
    assert_eq!(found["steps"][0]["verdict"], "skipped");
    assert!(text(&found, "summary").contains("where was false"), "{found:#}");
    let without = world.event(&json!({"type": "invoice.paid", "data": {"id": 3}})).await;
    let found = trace(&world, &without).await;
    assert!(reasons(&found)[0].contains("where failed: no such key `total`"), "{found:#}");
    assert_eq!(receiver.count("/large"), 1);
}

#[tokio::test]
async fn an_endpoint_is_reached_by_the_flow_that_lets_the_event_on() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &json!({"events": []}))).await;
    for (name, condition) in [("cheap", "data.n < 5"), ("dear", "data.n >= 5")] {
        let flow = json!({"name": name, "endpoints": ["a"], "where": condition});
        world.post("/api/v1/flows", &flow).await;
    }
    for n in [1, 9] {
        let event = world.event(&json!({"type": "x.y", "data": {"n": n}})).await;
        let found = trace(&world, &event).await;
        assert_eq!(found["deliveries"].as_array().unwrap().len(), 1, "{found:#}");
        assert_eq!(reasons(&found).len(), 1, "{found:#}");
    }
    receiver.wait_for("/a", 2).await;
}

#[tokio::test]
async fn a_flow_runs_no_module_for_what_its_where_keeps_back() {
    let flow = json!({"where": "data.keep"});
    let Some((world, receiver)) = with_hostile(&flow, &json!({})).await else { return };
    let order = |keep: bool| json!({"type": "hostile.order", "data": {"do": "echo", "keep": keep}});
    let back = world.event(&order(false)).await;
    let found = trace(&world, &back).await;
    assert_eq!(found["waiting"], json!([]), "it was never planned");
    assert_eq!(reasons(&found), ["flow `f`: where was false: data.keep (data.keep = false)"]);
    assert_eq!(found["steps"][0]["flow"], "f");
    world.event(&order(true)).await;
    receiver.wait_for("/sink", 1).await;
    // A replay follows the present condition.
    patch(&world, "/api/v1/flows/f", json!({"where": "!data.keep"})).await;
    let replay = format!("/api/v1/events/{back}/replay");
    let answer = world.client().post(&replay, &json!({})).await.unwrap();
    assert_eq!(answer.data()["flows"], 1, "{}", answer.text());
    receiver.wait_for("/sink", 2).await;
}

#[tokio::test]
async fn an_endpoint_judges_what_modules_made_of_an_event() {
    let condition = r#"type == "ledger.entry" && data.n > 1 && id == "77" && attributes.to == "b""#;
    let endpoint = json!({"where": condition});
    let Some((world, receiver)) = with_hostile(&json!({}), &endpoint).await else { return };
    let order = |n: u32| {
        json!({"type": "hostile.order", "data": {"do": "draft", "kind": "ledger.entry",
            "subject": "77", "attributes": {"to": "b"}, "payload": {"do": "echo", "n": n}}})
    };
    let back = world.event(&order(1)).await;
    let found = planned(&world, &back).await;
    assert_eq!(found["deliveries"], json!([]), "{found:#}");
    let told = reasons(&found).join("\n");
    assert!(told.contains("endpoint `sink`: where was false: "), "{told}");
    assert!(told.contains(r#"(type = "ledger.entry", data.n = 1)"#), "{told}");
    world.event(&order(2)).await;
    assert_eq!(receiver.first("/sink").await.json()["payload"]["n"], 2);
}

#[tokio::test]
async fn a_fault_has_its_line_and_its_column() {
    let Some(world) = World::start(Sqlite).await else { return };
    let endpoint =
        |condition: &str| json!({"name": "a", "url": "https://erp.example/a", "where": condition});
    for (condition, place, why) in [
        ("data.total > 1\n  and data.x", "line 2, column 3, at `and data.x`", "`&&`"),
        ("dta.total > 1", "line 1, column 1, at `dta.total > 1`", "did you mean `data`?"),
    ] {
        let answer = world.client().post("/api/v1/endpoints", &endpoint(condition)).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, "where");
        assert!(faults[0].1.contains(place) && faults[0].1.contains(why), "{faults:?}");
    }
    world.endpoint(&endpoint("true")).await;
    let change = json!({"where": "data.total >="});
    let answer = world.client().patch("/api/v1/endpoints/a", &change).await.unwrap();
    assert!(problem(&answer, 422)[0].1.contains("column 14, at the end"), "{}", answer.text());
    let document = json!({"flows": [{"name": "f", "endpoints": ["a"], "where": "1 +"}]});
    let answer = world.client().put(CONFIG, &document).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "flows[0].where");
}

#[tokio::test]
async fn apply_and_export_keep_it_and_null_removes_it() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let endpoint = endpoint_with("a", &receiver.url("/a"), &json!({"where": LARGE}));
    let flow =
        json!({"name": "f", "endpoints": ["a"], "events": ["lead.*"], "where": "data.n > 1"});
    let document = json!({"endpoints": [endpoint], "flows": [flow]});
    let answer = world.client().put(CONFIG, &document).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let exported = world.get(CONFIG).await;
    assert_eq!(exported["endpoints"][0]["where"], LARGE);
    assert_eq!(exported["flows"][0]["where"], "data.n > 1");
    assert_eq!(world.get("/api/v1/endpoints/a").await["where"], LARGE);
    patch(&world, "/api/v1/endpoints/a", json!({"where": null})).await;
    assert!(world.get("/api/v1/endpoints/a").await["where"].is_null());
    world.event(&invoice(1, "1.00")).await;
    receiver.wait_for("/a", 1).await;
}
