//! A dry run of a flow shows the output of its modules for an event, and neither stores nor sends
//! anything.

use std::process::{Command, Output};

use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, guest, text};

use crate::modules::{order, upload, with_guest, with_hostile};
use crate::support::{assert_problem, caller};

const RUN: &str = "/api/v1/flows/hostile/run";

fn invoice() -> Value {
    let data = json!({
        "id": "17", "clientid": "3", "formatted_number": "INV-17", "date": "2026-03-01",
        "currency_name": "EUR", "status": "1", "subtotal": "100.00", "total_tax": "19.00",
        "total": "119.00",
    });
    json!({"type": "invoice.created", "data": data})
}

#[tokio::test]
async fn a_dry_run_shows_each_step_and_sends_nothing() {
    let flow = json!({"events": ["invoice.created"]});
    let set = with_guest(Sqlite, "invoice-to-ledger", &flow, &["ledger"]).await;
    let Some((world, receiver)) = set else { return };
    let path = "/api/v1/flows/invoice-to-ledger/run";
    let dry = world.post(path, &json!({"event": invoice()})).await;
    assert_eq!([&dry["end"], &dry["flow"]], ["planned", "invoice-to-ledger"], "{dry:#}");
    assert_eq!([&dry["not_taken"], &dry["failure"]], [&Value::Null, &Value::Null]);
    let step = &dry["steps"][0];
    assert_eq!([&step["module"], &step["role"]], ["invoice-to-ledger", "transform"]);
    assert_eq!(step["version"], 1);
    assert_eq!(step["drafts"][0]["type"], "ledger.entry");
    let dispatch = &dry["dispatches"][0];
    assert_eq!([&dispatch["endpoint"], &dispatch["type"]], ["ledger", "ledger.entry"]);
    assert_eq!(dispatch["would_send"], true, "{dispatch:#}");
    assert_eq!(dispatch["body"]["payload"]["debit"], "119.00");
    for list in ["events", "deliveries", "dead-letters"] {
        assert_eq!(world.get(&format!("/api/v1/{list}")).await, json!([]), "{list}");
    }
    assert_eq!(receiver.count("/ledger"), 0, "nothing was sent");

    let id = world.event(&invoice()).await;
    let live = receiver.first("/ledger").await.json();
    let again = world.post(path, &json!({"event_id": id})).await;
    assert_eq!(again["dispatches"][0]["body"]["payload"], live["payload"]);
    assert_eq!(again["dispatches"][0]["id"], live["id"], "a draft has the id that it has live");
    assert_eq!(receiver.count("/ledger"), 1, "only the live one came");
}

#[tokio::test]
async fn a_dry_run_says_why_nothing_would_be_sent() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let run = async |order: Value| world.post(RUN, &json!({"event": order})).await;
    let dropped = run(order(&json!({"do": "drop"}))).await;
    assert_eq!([&dropped["end"], &dropped["dispatches"]], [&json!("dropped"), &json!([])]);
    assert_eq!(dropped["steps"][0]["reason"], "told to");
    let failed = run(order(&json!({"do": "panic"}))).await;
    assert_eq!([&failed["end"], &failed["failure"]["reason"]], ["failed", "module_trap"]);
    assert_eq!(failed["failure"]["retried"], false);
    let other = run(json!({"type": "other.order", "data": {"do": "echo"}})).await;
    let why = other["not_taken"].as_str().unwrap();
    assert!(why.contains("takes no events of type `other.order`"), "{why}");
    assert_eq!(
        [&other["end"], &other["dispatches"][0]["would_send"]],
        [&json!("planned"), &json!(false)]
    );

    world.client().patch("/api/v1/endpoints/sink", &json!({"enabled": false})).await.unwrap();
    let disabled = run(order(&json!({"do": "echo"}))).await;
    assert_eq!(disabled["dispatches"][0]["reason"], "endpoint `sink` is disabled");
    world.client().patch("/api/v1/flows/hostile", &json!({"enabled": false})).await.unwrap();
    let disabled = run(order(&json!({"do": "echo"}))).await;
    assert_eq!(disabled["not_taken"], "flow `hostile` is disabled");
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
    assert_eq!(receiver.count("/sink") + receiver.count("/other"), 0);
}

#[tokio::test]
async fn a_dry_run_tries_a_version_that_is_not_active() {
    let Some((world, _receiver)) = with_hostile(Sqlite).await else { return };
    let Some(other) = guest("probe") else { return };
    let call = Call::post("/api/v1/modules/hostile?activate=false", "application/wasm", other);
    assert_eq!(world.client().send(call).await.unwrap().status, StatusCode::CREATED);
    let event = order(&json!({"do": "echo"}));
    let with = |modules: Value| json!({"event": event, "modules": modules});
    let tried = world.post(RUN, &with(json!([{"name": "hostile", "version": 2}]))).await;
    assert_eq!(tried["steps"][0]["version"], 2);
    assert_eq!(tried["dispatches"][0]["type"], "sandbox.report", "{tried:#}");
    let present = world.post(RUN, &json!({"event": event})).await;
    assert_eq!(present["steps"][0]["version"], 1, "the flow still runs its own");
    for (modules, detail) in [
        (json!([{"name": "hostile", "version": 9}]), "module `hostile` has no version 9"),
        (json!([{"name": "none", "version": 1}]), "flow `hostile` has no module `none`"),
    ] {
        let refused = world.client().post(RUN, &with(modules)).await.unwrap();
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
    for (request, detail) in [
        (json!({}), "set `event`"),
        (json!({"event": {"type": "x"}}), "event"),
        (json!({"event": event, "event_id": "evt_1"}), "not both"),
    ] {
        let refused = world.client().post(RUN, &request).await.unwrap();
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
}

#[tokio::test]
async fn a_dry_run_asks_for_what_it_shows() {
    let Some((world, _receiver)) = with_hostile(Sqlite).await else { return };
    let id = world.event(&order(&json!({"do": "echo"}))).await;
    let (given, stored) =
        (json!({"event": order(&json!({"do": "echo"}))}), json!({"event_id": id}));
    let with = async |name: &str, scopes: &[&str], more: Value| {
        let mut settings = json!({"name": name, "scopes": scopes});
        settings.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        caller(&world, &settings).await
    };
    let author = with("author", &["modules:write"], json!({})).await;
    let refused = author.post(RUN, &given).await.unwrap();
    assert_problem(&refused, StatusCode::FORBIDDEN, "flows:read");
    let reader = with("reader", &["flows:read", "events:read"], json!({})).await;
    assert_problem(
        &reader.post(RUN, &given).await.unwrap(),
        StatusCode::FORBIDDEN,
        "modules:write",
    );
    let both = with("both", &["modules:write", "flows:read"], json!({})).await;
    assert_eq!(both.post(RUN, &given).await.unwrap().status, StatusCode::OK);
    assert_problem(&both.post(RUN, &stored).await.unwrap(), StatusCode::FORBIDDEN, "events:read");
    let all = ["modules:write", "flows:read", "events:read"];
    let full = with("full", &all, json!({})).await;
    assert_eq!(full.post(RUN, &stored).await.unwrap().status, StatusCode::OK);
    let foreign = with("foreign", &all, json!({"sources": ["elsewhere"]})).await;
    for path in [RUN, "/api/v1/modules/hostile/run"] {
        let refused = foreign.post(path, &stored).await.unwrap();
        assert_problem(&refused, StatusCode::FORBIDDEN, "limited to some tables or sources");
    }
}

/// Runs the program's command line against this server.
fn waybill(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("WAYBILL_URL", world.server().address());
    command.env("WAYBILL_TOKEN", ADMIN_TOKEN);
    command.output().unwrap()
}

#[tokio::test]
async fn the_command_line_runs_a_flow() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let file = world.folder().join("event.json");
    std::fs::write(
        &file,
        order(&json!({"do": "draft", "payload": {"do": "echo", "new": 1}})).to_string(),
    )
    .unwrap();
    let file = text(&json!({"file": file}), "file");
    let done = waybill(&world, &["flow", "run", "hostile", "--data", &file, "--json"]);
    assert!(done.status.success(), "{done:?}");
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(answer["dispatches"][0]["endpoint"], "sink");
    let id = world.event(&order(&json!({"do": "panic"}))).await;
    let failed = waybill(&world, &["flow", "run", "hostile", "--event", &id]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("trapped"), "{failed:?}");
    assert_eq!(receiver.count("/sink"), 0);
}

#[tokio::test]
async fn a_version_is_uploaded_for_the_next_run() {
    let Some((world, _receiver)) = with_hostile(Sqlite).await else { return };
    let Some(other) = guest("probe") else { return };
    assert_eq!(upload(&world, "hostile", other).await.status, StatusCode::CREATED);
    let dry = world.post(RUN, &json!({"event": order(&json!({"do": "echo"}))})).await;
    assert_eq!(dry["steps"][0]["version"], 2, "the active version runs");
}
