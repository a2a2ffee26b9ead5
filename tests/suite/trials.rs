//! Trials of module versions on live events: shadows, canaries, and the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, guest};
use waybill_tests::{Answer, Client, Receiver, Server, Settings, World};

use crate::modules::upload;
use crate::support::{assert_problem, caller, endpoint_with, problem, with_manifest};

const MODULE: &str = "/api/v1/modules/books";
const TRIAL: &str = "/api/v1/modules/books/trial";
const KEY: &str = "one-key-of-all-nodes-0123456789";

/// Uploads a component as the next version, without activating it.
async fn add_version(world: &World, component: Vec<u8>) {
    let answer = world.client().send(Call::post(MODULE, "application/wasm", component)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
}

/// The guest `hostile`, which routes to `other` instead of `sink` unless told otherwise.
pub(crate) fn rerouted() -> Option<Vec<u8>> {
    routing_to("other")
}

fn routing_to(destination: &str) -> Option<Vec<u8>> {
    let destination = json!({"type": "string", "default": destination});
    let schema = json!({"type": "object", "properties": {"destination": destination}});
    Some(with_manifest(guest("hostile")?, &json!({"name": "books", "config": schema})))
}

/// A world whose module `books` has the guest `hostile` as its active version 1 and `second` as
/// version 2, in one flow to `sink` and `other`.
pub(crate) async fn world_with(
    backend: Backend,
    second: Option<Vec<u8>>,
    change: impl FnOnce(&mut Settings, u16),
) -> Option<(World, Receiver)> {
    let (first, second) = (guest("hostile")?, second?);
    let receiver = Receiver::start().await;
    let set = |settings: &mut Settings| {
        settings.environment("WAYBILL_SECRET_KEY", KEY);
        settings.set("delivery.retry_schedule", r#"["100ms", "1s", "1s", "1s", "1s", "1s"]"#);
        change(settings, receiver.port());
    };
    let world = World::start_with(backend, set).await?;
    upload(&world, "books", first).await;
    add_version(&world, second).await;
    for name in ["sink", "other"] {
        let url = receiver.url(&format!("/{name}"));
        world.endpoint(&endpoint_with(name, &url, &json!({"events": []}))).await;
    }
    let facts = json!({"events": ["fact.*"]});
    world.endpoint(&endpoint_with("facts", &receiver.url("/facts"), &facts)).await;
    let flow = json!({"name": "f", "events": ["hostile.*"], "modules": [{"name": "books"}],
        "endpoints": ["sink", "other"]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, receiver))
}

/// An event about a record. Version 1 lets it pass to `sink`.
fn about(record: u32, more: &Value) -> Value {
    let data = crate::support::merged(json!({"do": "echo"}), more);
    json!({"type": "hostile.order", "resource": "order", "resource_id": record.to_string(), "data": data})
}

fn version_path(action: &str) -> String {
    format!("{MODULE}/versions/2/{action}")
}

#[rstest]
#[tokio::test]
async fn a_shadow_changes_nothing_and_tells_what_differs(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let grant = |settings: &mut Settings, port: u16| {
        let hosts = [format!("127.0.0.1:{port}")];
        let grants = json!({"http": hosts, "state": {}, "emit": ["fact.made"],
            "counters": ["made"]});
        settings.environment("TEST_WAYBILL_GRANTS", &grants.to_string());
    };
    let set = world_with(backend, guest("caller"), grant).await;
    let Some((world, receiver)) = set else { return };
    let begun = world.post(&version_path("shadow"), &json!({})).await;
    assert_eq!([&begun["state"], &begun["share"]], [&json!("shadow"), &json!(100)], "{begun:#}");

    let effects = json!([
        {"call": "set", "key": "k", "value": "1"}, {"call": "emit", "kind": "fact.made"},
        {"call": "count", "key": "made", "by": 1},
    ]);
    let changed = world.event(&about(1, &json!({"calls": effects}))).await;
    let denied = json!([{"call": "hmac", "key": "none", "value": "x"}]);
    world.event(&about(2, &json!({"calls": denied}))).await;
    let address = receiver.url("/asked");
    let asked = json!([{"call": "send", "value": address}]);
    world.event(&about(3, &json!({"calls": asked, "catch": true}))).await;
    world.event(&about(4, &json!({"do": "drop"}))).await;
    receiver.wait_for("/sink", 3).await;

    let total = |found: &Value| {
        let counts = found["comparison"].as_object().unwrap().values();
        counts.filter_map(Value::as_u64).sum::<u64>()
    };
    let found = world.eventually(TRIAL, |found| total(found) == 4).await;
    let counts = &found["comparison"];
    assert_eq!([&counts["newly_failing"], &counts["not_recorded"]], [1, 1], "{found:#}");
    // Version 2 has no filter, so it would also send the event that version 1 drops.
    assert_eq!([&counts["changed"], &counts["same"]], [2, 0], "{found:#}");
    assert_eq!([&found["active"]["calls"], &found["tried"]["calls"]], [4, 4]);
    assert!(found["tried"]["mean_us"].as_u64().is_some_and(|mean| mean > 0), "{found:#}");
    let examples = found["examples"].as_array().unwrap();
    let own = examples.iter().find(|example| example["event_id"] == changed).unwrap();
    assert_eq!([&own["kind"], &own["flow"]], ["changed", "f"], "{own:#}");
    assert!(own["differences"].to_string().contains("answers"), "{own:#}");
    let kinds: BTreeSet<&str> = examples.iter().filter_map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["changed", "newly_failing", "not_recorded"]));

    // The plans that followed are those of version 1 alone.
    assert_eq!([receiver.count("/sink"), receiver.count("/other")], [3, 0]);
    assert_eq!([receiver.count("/facts"), receiver.count("/asked")], [0, 0]);
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
    let events = world.get("/api/v1/events").await;
    assert_eq!(events.as_array().unwrap().len(), 4, "nothing was emitted");
    let trace = world.get(&format!("/api/v1/events/{changed}")).await;
    assert!(trace["steps"].as_array().unwrap().iter().all(|step| step["version"] == 1));
    let shown = world.get(MODULE).await;
    assert_eq!(shown[0]["figures"]["outcomes"], json!({"dropped": 1, "passed": 3}), "{shown:#}");
    assert_eq!(shown[1]["figures"], Value::Null, "a shadow is not counted as live");
    world.post(&format!("{MODULE}/promote"), &json!({})).await;
    world.event(&about(1, &json!({"calls": [{"call": "get", "key": "k"}]}))).await;
    let arrivals = receiver.wait_for("/sink", 4).await;
    let answers = arrivals.iter().filter_map(|one| one.json()["payload"].get("answers").cloned());
    assert_eq!(answers.collect::<Vec<_>>(), [json!([null])], "the shadow set no state");
    let shown = world.get(MODULE).await;
    assert_eq!(shown[1]["counters"].get("made"), None, "{shown:#}");
}

/// Version 2 takes its whole time on every event. Its queue is full after 64 of them.
#[tokio::test]
async fn a_slow_shadow_is_left_out_and_holds_no_event_up() {
    const EVENTS: u32 = 150;
    let set = world_with(Sqlite, guest("probe"), |_, _| {}).await;
    let Some((world, receiver)) = set else { return };
    world.post(&version_path("shadow"), &json!({})).await;
    let slow: Vec<Value> = (0..EVENTS).map(|n| about(n, &json!({"sleep": 60}))).collect();
    world.post("/api/v1/events", &json!(slow)).await;
    receiver.wait_for("/sink", EVENTS as usize).await;
    let left_out = |found: &Value| found["comparison"]["left_out"].as_u64().unwrap();
    let found = world.eventually(TRIAL, |found| left_out(found) > 0).await;
    assert!(left_out(&found) < u64::from(EVENTS), "{found:#}");
    let found = world.eventually(TRIAL, |found| found["tried"]["failed"] != 0).await;
    assert_eq!(found["examples"][0]["kind"], "newly_failing", "{found:#}");
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
}

/// Sends an event about each record, and waits until all have arrived.
async fn send_round(client: &Client, receiver: &Receiver, records: u32, before: usize) {
    for record in 0..records {
        let answer = client.post("/api/v1/events", &about(record, &json!({}))).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    }
    let all = before + records as usize;
    while receiver.count("/sink") + receiver.count("/other") < all {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The endpoints that the events of each record reached.
fn places(receiver: &Receiver) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut places: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for path in ["/sink", "/other"] {
        for arrival in receiver.arrivals(path) {
            let record = arrival.json()["resource_id"].as_str().unwrap().to_owned();
            places.entry(record).or_default().insert(path);
        }
    }
    places
}

#[rstest]
#[tokio::test]
async fn a_record_stays_on_one_version_across_restarts_and_nodes(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    const RECORDS: u32 = 40;
    let Some((mut world, receiver)) = world_with(backend, rerouted(), |_, _| {}).await else {
        return;
    };
    let begun = world.post(&version_path("canary"), &json!({"share": 50})).await;
    assert_eq!(begun["max_failure_rate"], 5, "{begun:#}");
    send_round(world.client(), &receiver, RECORDS, 0).await;
    world.kill9();
    world.restart();
    send_round(world.client(), &receiver, RECORDS, RECORDS as usize).await;
    if backend == Postgres {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = world.settings().clone();
        let place = folder.path().to_str().unwrap();
        settings.set("server.listen", "127.0.0.1:0").set("server.data_dir", place);
        let second = Server::start(&settings).unwrap();
        let other = Client::new(second.address(), Some(ADMIN_TOKEN));
        send_round(&other, &receiver, RECORDS, 2 * RECORDS as usize).await;
    }
    let places = places(&receiver);
    assert_eq!(places.len(), RECORDS as usize);
    assert!(places.values().all(|places| places.len() == 1), "{places:?}");
    let changed = places.values().filter(|places| places.contains("/other")).count();
    assert!((5..35).contains(&changed), "{changed} of {RECORDS} run version 2");
    // Each trace names the version that ran.
    for event in world.get("/api/v1/events?limit=200").await.as_array().unwrap() {
        let trace = world.get(&format!("/api/v1/events/{}", event["id"].as_str().unwrap())).await;
        let record = event["resource_id"].as_str().unwrap();
        let expected = if places[record].contains("/other") { 2 } else { 1 };
        assert_eq!(trace["steps"][0]["version"], expected, "{trace:#}");
    }
    let is_counted = |found: &Value| {
        let calls = |arm: &str| found[arm]["calls"].as_u64().unwrap();
        calls("active") + calls("tried") >= u64::from(RECORDS)
    };
    let found = world.eventually(TRIAL, is_counted).await;
    assert_eq!([&found["tried"]["failed"], &found["active"]["failed"]], [0, 0], "{found:#}");
}

#[rstest]
#[tokio::test]
async fn a_canary_that_fails_is_rolled_back_and_costs_no_event(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    const EVENTS: u32 = 8;
    let often = |settings: &mut Settings, _: u16| {
        settings.set("alerts.interval", "100ms");
    };
    let Some((world, receiver)) = world_with(backend, guest("caller"), often).await else {
        return;
    };
    let terms = json!({"share": 100, "max_failure_rate": 20, "min_calls": 5});
    world.post(&version_path("canary"), &terms).await;
    // Version 2 fails for now, version 1 does not know the field.
    let fails = json!({"calls": [{"call": "fail"}]});
    for record in 0..EVENTS {
        world.event(&about(record, &fails)).await;
    }
    let found = world.eventually(TRIAL, |found| found["state"] == "ended").await;
    let why = found["ended_why"].as_str().unwrap();
    assert!(why.contains("calls failed, which is more than 20 %"), "{why}");
    receiver.wait_for("/sink", EVENTS as usize).await;
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
    let line = world.server().wait_for_line(&["WARN", "a canary was rolled back"]).unwrap();
    assert!(line.contains("books") && line.contains("more than 20 %"), "{line}");
    let rows = world.eventually("/api/v1/audit?method=AUTO", |rows| rows[0].is_object()).await;
    let route = rows[0]["route"].as_str().unwrap();
    assert!(
        route.contains("/rollback: module books version 2") && route.contains("20 %"),
        "{route}"
    );
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
    let shown = world.get(MODULE).await;
    assert_eq!(
        [&shown[1]["trial"]["state"], &shown[1]["active"]],
        [&json!("ended"), &json!(false)]
    );
    let failed = shown[1]["figures"]["outcomes"]["module_failure"].as_u64();
    assert!(failed.is_some_and(|failed| failed >= 5), "{shown:#}");
    let alert = |found: &Value| {
        let all = found.as_array().into_iter().flatten();
        all.clone().find(|alert| alert["rule"] == "canary_rolled_back").cloned()
    };
    let is_firing = |found: &Value| alert(found).is_some_and(|alert| alert["state"] == "firing");
    let found = alert(&world.eventually("/api/v1/alerts", is_firing).await).unwrap();
    assert!(found.to_string().contains("books version 2: "), "{found:#}");
    // What ended can begin again, with new counts.
    let begun = world.post(&version_path("canary"), &json!({"share": 1})).await;
    assert_eq!([&begun["state"], &begun["tried"]["calls"]], [&json!("canary"), &json!(0)]);
    world.eventually("/api/v1/alerts", |found| !is_firing(found)).await;
}

/// No call of the module fails then, but every plan does.
#[tokio::test]
async fn a_canary_that_routes_to_an_unknown_endpoint_is_rolled_back() {
    let set = world_with(Sqlite, routing_to("nowhere"), |_, _| {}).await;
    let Some((world, _receiver)) = set else { return };
    world.post(&version_path("canary"), &json!({"share": 100, "min_calls": 3})).await;
    for record in 0..3 {
        world.event(&about(record, &json!({}))).await;
    }
    let found = world.eventually(TRIAL, |found| found["state"] == "ended").await;
    assert_eq!([&found["tried"]["calls"], &found["tried"]["failed"]], [3, 3], "{found:#}");
}

/// The breaker of version 2 opens at its first time-out, long before there are 50 calls.
#[tokio::test]
async fn a_canary_whose_breaker_opens_is_rolled_back() {
    let at_once = |settings: &mut Settings, _: u16| {
        settings.set("modules.breaker_faults", "1").set("modules.breaker_wait", "1h");
    };
    let Some((world, receiver)) = world_with(Sqlite, guest("probe"), at_once).await else { return };
    world.post(&version_path("canary"), &json!({"share": 100})).await;
    world.event(&about(1, &json!({"sleep": 60}))).await;
    let found = world.eventually(TRIAL, |found| found["state"] == "ended").await;
    let why = found["ended_why"].as_str().unwrap();
    assert!(why.contains("breaker") && why.contains("module_timeout"), "{why}");
    assert_eq!(receiver.first("/sink").await.json()["resource_id"], "1");
}

#[rstest]
#[tokio::test]
async fn a_version_on_trial_is_promoted_or_rolled_back_by_hand(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = world_with(backend, rerouted(), |_, _| {}).await else { return };
    world.post(&version_path("canary"), &json!({"share": 100})).await;
    world.event(&about(1, &json!({}))).await;
    receiver.first("/other").await;
    let ended = world.post(&format!("{MODULE}/rollback"), &json!({})).await;
    assert!(ended["ended_why"].as_str().unwrap().contains("rolled back by"), "{ended:#}");
    world.event(&about(1, &json!({}))).await;
    receiver.first("/sink").await;
    let again = world.client().post(&format!("{MODULE}/rollback"), &json!({})).await.unwrap();
    assert_problem(&again, StatusCode::CONFLICT, "no version of module `books` is on trial");
    let none = world.client().post(&format!("{MODULE}/promote"), &json!({})).await.unwrap();
    assert_problem(&none, StatusCode::CONFLICT, "on trial");

    world.post(&version_path("canary"), &json!({"share": 1})).await;
    let made = world.post(&format!("{MODULE}/promote"), &json!({})).await;
    assert_eq!([&made["version"], &made["active"]], [&json!(2), &json!(true)], "{made:#}");
    world.event(&about(1, &json!({}))).await;
    receiver.wait_for("/other", 2).await;
    let gone = world.client().get(TRIAL).await.unwrap();
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "an active version has no trial");
    let shown = world.get(MODULE).await;
    assert!(shown.as_array().unwrap().iter().all(|version| version["trial"].is_null()));
    let active = world.client().post(&version_path("shadow"), &json!({})).await.unwrap();
    assert_problem(&active, StatusCode::CONFLICT, "version 2 of module `books` is active");
}

#[tokio::test]
async fn a_running_trial_keeps_its_counts_when_its_share_changes() {
    let Some((world, receiver)) = world_with(Sqlite, rerouted(), |_, _| {}).await else { return };
    world.post(&version_path("canary"), &json!({"share": 100, "min_calls": 7})).await;
    world.event(&about(1, &json!({}))).await;
    receiver.first("/other").await;
    world.eventually(TRIAL, |found| found["tried"]["calls"] == 1).await;
    let changed = world.post(&version_path("canary"), &json!({"share": 30})).await;
    assert_eq!([&changed["share"], &changed["min_calls"]], [30, 7], "{changed:#}");
    assert_eq!(changed["tried"]["calls"], 1, "{changed:#}");
    let shadow = world.post(&version_path("shadow"), &json!({})).await;
    assert_eq!([&shadow["state"], &shadow["tried"]["calls"]], [&json!("shadow"), &json!(0)]);
}

/// A flow that names its version takes no part.
#[tokio::test]
async fn a_flow_with_a_pinned_version_keeps_it() {
    let Some((world, receiver)) = world_with(Sqlite, rerouted(), |_, _| {}).await else { return };
    let pinned = json!({"modules": [{"name": "books", "version": 1}]});
    let answer = world.client().patch("/api/v1/flows/f", &pinned).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.post(&version_path("canary"), &json!({"share": 100})).await;
    world.event(&about(1, &json!({}))).await;
    receiver.first("/sink").await;
    assert_eq!(receiver.count("/other"), 0);
}

#[tokio::test]
async fn a_trial_has_the_conditions_and_the_scope_of_an_activation() {
    let Some((world, _receiver)) = world_with(Sqlite, rerouted(), |_, _| {}).await else { return };
    let asking = json!({"name": "books", "capabilities": {"http": ["api.example.com"]}});
    add_version(&world, with_manifest(guest("hostile").unwrap(), &asking)).await;
    let path = format!("{MODULE}/versions/3/canary");
    let refused = world.client().post(&path, &json!({})).await.unwrap();
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text());
    assert!(refused.text().contains("http:api.example.com"), "{}", refused.text());
    world.post(&path, &json!({"approve": ["http:api.example.com"]})).await;
    for (wrong, field) in [
        (json!({"share": 0}), "share"),
        (json!({"share": 101}), "share"),
        (json!({"max_failure_rate": 101}), "max_failure_rate"),
        (json!({"min_calls": 0}), "min_calls"),
    ] {
        let answer = world.client().post(&path, &wrong).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, field);
    }
    let viewer = caller(&world, &json!({"name": "viewer", "scopes": ["read-only"]})).await;
    let refused = |answer: Answer| assert_eq!(answer.status, StatusCode::FORBIDDEN);
    for action in ["versions/2/canary", "versions/2/shadow", "promote", "rollback"] {
        let path = format!("{MODULE}/{action}");
        refused(viewer.post(&path, &json!({})).await.unwrap());
    }
    let shown = viewer.get(TRIAL).await.unwrap();
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text());
    assert_eq!(shown.data()["version"], 3);
    let modules = json!({"name": "modules", "scopes": ["modules:read"]});
    let modules = caller(&world, &modules).await;
    let shown = modules.get(TRIAL).await.unwrap().data();
    assert!(shown.get("examples").is_none(), "examples quote events: {shown:#}");
}

fn waybill(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("WAYBILL_URL", world.server().address());
    command.env("WAYBILL_TOKEN", ADMIN_TOKEN).output().unwrap()
}

#[tokio::test]
async fn the_command_line_begins_shows_and_ends_trials() {
    let Some((world, _receiver)) = world_with(Sqlite, rerouted(), |_, _| {}).await else { return };
    let run = |arguments: &[&str]| {
        let done = waybill(&world, &[&["module"], arguments].concat());
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    let begun = run(&["shadow", "books", "2", "--share", "50"]);
    assert_eq!([&begun["state"], &begun["share"]], [&json!("shadow"), &json!(50)], "{begun:#}");
    let begun = run(&["canary", "books", "2", "--share", "10", "--max-failure-rate", "2"]);
    assert_eq!([&begun["state"], &begun["max_failure_rate"]], [&json!("canary"), &json!(2)]);
    assert_eq!(run(&["trial", "books"])["version"], 2);
    let listed = run(&["list"]);
    assert_eq!(listed[1]["trial"]["state"], "canary", "{listed:#}");
    assert_eq!(run(&["rollback", "books"])["state"], "ended");
    run(&["canary", "books", "2"]);
    assert_eq!(run(&["promote", "books"])["active"], true);
    let none = waybill(&world, &["module", "promote", "books"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
}
