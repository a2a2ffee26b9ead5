//! Modules: the examples at work, refused uploads, and guests that misbehave. A misbehaving guest
//! turns only its own event into a dead letter, and does not affect other events.

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Answer, Receiver, Settings, World};

use crate::support::{endpoint_with, merged, problem, texts, verified, with_manifest};

const DEAD: &str = "/api/v1/dead-letters";

/// Uploads a component and activates it.
pub(crate) async fn upload(world: &World, name: &str, component: Vec<u8>) -> Answer {
    let path = format!("/api/v1/modules/{name}?activate=true");
    world.client().send(Call::post(&path, "application/wasm", component)).await.unwrap()
}

/// Starts a world with one guest in one flow for `events`, and endpoints without subscriptions.
pub(crate) async fn with_guest(
    backend: Backend,
    name: &str,
    flow: &Value,
    endpoints: &[&str],
) -> Option<(World, Receiver)> {
    let component = guest(name)?;
    let short = |settings: &mut Settings| {
        settings.set("delivery.retry_schedule", r#"["50ms", "50ms"]"#);
    };
    let world = World::start_with(backend, short).await?;
    let receiver = Receiver::start().await;
    let answer = upload(&world, name, component).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    for endpoint in endpoints {
        let url = receiver.url(&format!("/{endpoint}"));
        world.endpoint(&endpoint_with(endpoint, &url, &json!({"events": []}))).await;
    }
    let base = json!({"name": name, "modules": [{"name": name}], "endpoints": endpoints});
    world.post("/api/v1/flows", &merged(base, flow)).await;
    Some((world, receiver))
}

pub(crate) async fn with_hostile(backend: Backend) -> Option<(World, Receiver)> {
    with_guest(backend, "hostile", &json!({"events": ["hostile.*"]}), &["sink", "other"]).await
}

pub(crate) fn order(order: &Value) -> Value {
    json!({"type": "hostile.order", "data": order})
}

#[rstest]
#[tokio::test]
async fn a_transform_makes_another_event_of_it(#[values(Sqlite, Postgres)] backend: Backend) {
    let flow = json!({"events": ["invoice.created"]});
    let set = with_guest(backend, "invoice-to-ledger", &flow, &["ledger"]).await;
    let Some((world, receiver)) = set else { return };
    let data = json!({
        "id": "17", "clientid": "3", "formatted_number": "INV-17", "date": "2026-03-01",
        "currency_name": "EUR", "status": "1", "subtotal": "100.00", "total_tax": "19.00",
        "total": "119.00",
    });
    let id = world.event(&json!({"type": "invoice.created", "data": data})).await;
    let entry = receiver.first("/ledger").await.json();
    assert_eq!(entry["event"], "ledger.entry");
    let payload = &entry["payload"];
    assert_eq!([&payload["debit"], &payload["credit"]], ["119.00", "119.00"], "{payload:#}");
    assert_eq!(payload["reference"], "INV-17");
    let trace = world.get(&format!("/api/v1/events/{id}")).await;
    let step = &trace["steps"][0];
    assert_eq!([&step["module"], &step["role"]], ["invoice-to-ledger", "transform"]);
    assert_eq!(step["version"], 1);
    assert!(step["duration_us"].as_u64().is_some(), "{step:#}");
    assert_eq!(trace["deliveries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_filter_drops_and_a_route_chooses_by_configuration() {
    let config = json!({"threshold": 1000, "destination": "sales",
                        "hot_threshold": "5000.00", "hot_destination": "director"});
    let flow = json!({"events": ["lead.created"],
                      "modules": [{"name": "hot-leads", "config": config}]});
    let set = with_guest(Sqlite, "hot-leads", &flow, &["sales", "director"]).await;
    let Some((world, receiver)) = set else { return };
    let lead = |id: u32, value: &str| json!({"type": "lead.created", "data": {"id": id, "lead_value": value}});
    let cold = world.event(&lead(1, "500.00")).await;
    world.event(&lead(2, "1500.00")).await;
    world.event(&lead(3, "9000.00")).await;
    assert_eq!(receiver.first("/sales").await.json()["payload"]["id"], 2);
    assert_eq!(receiver.first("/director").await.json()["payload"]["id"], 3);
    let trace = world
        .eventually(&format!("/api/v1/events/{cold}"), |found| found["steps"][0].is_object())
        .await;
    assert_eq!(trace["deliveries"], json!([]));
    let reason = trace["steps"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("500.00") && reason.contains("below"), "{reason}");
    assert_eq!(world.get(DEAD).await, json!([]), "a drop is no failure");
}

#[rstest]
#[case::spin(json!({"do": "spin"}), "module_timeout")]
#[case::spin_in_transform(json!({"do": "spin", "in": "transform"}), "module_timeout")]
#[case::recursion(json!({"do": "recurse"}), "module_trap")]
#[case::memory(json!({"do": "memory"}), "module_memory")]
#[case::panic(json!({"do": "panic", "in": "route"}), "module_trap")]
#[case::output(json!({"do": "output", "mib": 3}), "module_output")]
#[case::output_beyond_memory(json!({"do": "output", "mib": 100}), "module_memory")]
#[case::amplified(json!({"do": "amplify"}), "module_output")]
#[case::no_json(json!({"do": "garbage"}), "module_output")]
#[case::no_json_routed(json!({"do": "garbage", "in": "route"}), "module_output")]
#[case::no_type(json!({"do": "bad_kind"}), "module_output")]
#[case::too_many(json!({"do": "route_flood"}), "module_output")]
#[case::nowhere(json!({"do": "route_nowhere"}), "module_output")]
#[case::gives_up(json!({"do": "fail_permanent"}), "module_failure")]
#[case::keeps_failing(json!({"do": "fail_retryable"}), "module_failure")]
#[tokio::test]
async fn a_bad_guest_costs_its_own_event_a_dead_letter(#[case] bad: Value, #[case] reason: &str) {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let echo = order(&json!({"do": "echo"}));
    let bad = [echo.clone(), order(&bad), echo.clone(), echo];
    let receipts = world.post("/api/v1/events", &json!(bad)).await;
    let dead =
        world.eventually(DEAD, |found| found.as_array().is_some_and(|all| !all.is_empty())).await;
    assert_eq!(dead[0]["event_id"], receipts[1]["id"]);
    assert_eq!(dead[0]["reason"], reason, "{}", dead[0]["detail"]);
    assert!(dead[0]["detail"].as_str().is_some_and(|why| !why.is_empty()));
    assert_eq!([&dead[0]["kind"], &dead[0]["flow"]], ["event", "hostile"]);
    let arrivals = receiver.wait_for("/sink", 3).await;
    let mut came: Vec<String> =
        arrivals.iter().map(|one| one.json()["id"].as_str().unwrap().to_owned()).collect();
    came.sort();
    came.dedup();
    assert_eq!(came.len(), 3, "the other events came through");
    assert!(!came.contains(&text(&receipts[1], "id")));
    let trace = world.get(&format!("/api/v1/events/{}", text(&receipts[1], "id"))).await;
    assert!(trace["steps"].to_string().contains("hostile"), "the trace tells of it: {trace:#}");
    // The module still works.
    world.event(&order(&json!({"do": "echo"}))).await;
    receiver.wait_for("/sink", 4).await;
}

#[rstest]
#[case::log(json!({"do": "log_flood"}))]
#[case::output(json!({"do": "print_flood"}))]
#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_the_event_goes_on_or_dies_of_its_time(
    #[case] flood: Value,
) {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let flooded = world.event(&order(&flood)).await;
    world.event(&order(&json!({"do": "echo"}))).await;
    receiver.wait_for("/sink", 1).await;
    let path = format!("/api/v1/events/{flooded}");
    let trace = world.eventually(&path, |found| found["steps"][0].is_object()).await;
    let size = trace.to_string().len();
    assert!(size < 512 * 1024, "a trace of {size} bytes");
}

#[rstest]
#[tokio::test]
async fn a_failed_event_is_replayed_with_a_better_version(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = with_hostile(backend).await else { return };
    let Some(better) = guest("probe") else { return };
    let event = world.event(&order(&json!({"do": "panic"}))).await;
    let dead =
        world.eventually(DEAD, |found| found.as_array().is_some_and(|all| all.len() == 1)).await;
    let replay = format!("{DEAD}/{}/replay", text(&dead[0], "id"));

    world.post(&replay, &json!({})).await;
    let again = |found: &Value| found[0]["replayed_at"].is_null() && found[0]["id"].is_string();
    let dead = world.eventually(DEAD, again).await;
    assert_eq!(dead[0]["event_id"], event, "a replay that fails again loses nothing");

    assert_eq!(upload(&world, "hostile", better).await.status, StatusCode::CREATED);
    let replay = format!("{DEAD}/{}/replay", text(&dead[0], "id"));
    world.post(&replay, &json!({})).await;
    for endpoint in ["/sink", "/other"] {
        let arrival = receiver.first(endpoint).await;
        assert_eq!(arrival.json()["event"], "sandbox.report");
    }
    world.eventually(DEAD, |found| *found == json!([])).await;
}

/// A file takes the place of the folder with the compiled modules, so that the host cannot load
/// one.
#[tokio::test]
async fn events_wait_while_their_module_cannot_be_loaded() {
    let (Some(first), Some(second)) = (guest("hostile"), guest("probe")) else { return };
    let patient = |settings: &mut Settings| {
        settings.set("delivery.retry_schedule", r#"["1s", "2s", "4s", "8s", "16s", "32s"]"#);
    };
    let Some(world) = World::start_with(Sqlite, patient).await else { return };
    let receiver = Receiver::start().await;
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&sink).await;
    for component in [first, second] {
        assert_eq!(upload(&world, "hostile", component).await.status, StatusCode::CREATED);
    }
    let flow = json!({"name": "f", "events": ["hostile.*"], "modules": [{"name": "hostile"}],
        "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;

    let (folder, aside) = (world.folder().join("waybill-modules"), world.folder().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "").unwrap();
    world.post("/api/v1/modules/hostile/versions/1/activate", &json!({})).await;
    let event = world.event(&order(&json!({"do": "echo"}))).await;
    let path = format!("/api/v1/events/{event}");
    let trace = world.eventually(&path, |found| found["steps"][0].is_object()).await;
    assert!(trace["steps"].to_string().contains("could not be loaded"), "{trace:#}");
    assert_eq!(world.get(DEAD).await, json!([]), "it is planned again");

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(receiver.first("/sink").await.json()["payload"]["do"], "echo");
}

#[rstest]
#[tokio::test]
async fn a_split_makes_several_deliveries_and_a_delay_holds_one(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((mut world, receiver)) = with_hostile(backend).await else { return };
    world.event(&order(&json!({"do": "split", "count": 3}))).await;
    let arrivals = receiver.wait_for("/sink", 3).await;
    let mut indices: Vec<u64> =
        arrivals.iter().map(|one| one.json()["payload"]["index"].as_u64().unwrap()).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2]);
    let ids: Vec<&str> = arrivals.iter().map(|one| one.header("webhook-id")).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);

    let later = json!({"do": "route", "to": ["other"], "delay": 8, "payload": {"own": true}});
    world.event(&order(&later)).await;
    world
        .eventually("/api/v1/deliveries?status=pending", |found| found[0]["due_at"].is_string())
        .await;
    world.kill9();
    world.restart();
    let arrival = receiver.first("/other").await;
    assert_eq!(arrival.json()["payload"], json!({"own": true}));
}

/// The parts of a split event are about one record, but they are not states of one thing.
#[rstest]
#[tokio::test]
async fn a_smart_endpoint_gets_all_parts_of_a_split(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = with_hostile(backend).await else { return };
    let smart = json!({"mode": "smart", "smart": {"window": "500ms"}});
    world.client().patch("/api/v1/endpoints/sink", &smart).await.unwrap();
    let split = json!({"type": "hostile.order", "resource": "order", "resource_id": "7",
        "data": {"do": "split", "count": 3}});
    world.event(&split).await;
    world.event(&split).await;
    let arrivals = receiver.wait_for("/sink", 3).await;
    let mut indices: Vec<u64> =
        arrivals.iter().map(|one| one.json()["payload"]["index"].as_u64().unwrap()).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2]);
    let superseded = world.get("/api/v1/deliveries?status=superseded").await;
    assert_eq!(superseded.as_array().unwrap().len(), 3, "each part took the place of its own");
}

#[rstest]
#[tokio::test]
async fn a_dedupe_key_makes_one_delivery_of_many(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = with_hostile(backend).await else { return };
    let once = json!({"do": "route", "to": ["sink"], "dedupe_key": "the same"});
    world.event(&order(&once)).await;
    receiver.first("/sink").await;
    let second = world.event(&order(&once)).await;
    let path = format!("/api/v1/events/{second}");
    world.eventually(&path, |found| found["steps"][0].is_object()).await;
    world.event(&order(&json!({"do": "echo"}))).await;
    let arrivals = receiver.wait_for("/sink", 2).await;
    assert_eq!(arrivals[1].json()["payload"]["do"], "echo");
}

#[tokio::test]
async fn each_call_has_a_fresh_instance_for_its_roles() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    for _ in 0..3 {
        world.event(&order(&json!({"do": "static_counter"}))).await;
    }
    let arrivals = receiver.wait_for("/sink", 3).await;
    let payloads: Vec<Value> = arrivals.iter().map(|one| one.json()["payload"].clone()).collect();
    assert!(payloads.iter().all(|one| *one == payloads[0]), "{payloads:#?}");
}

#[tokio::test]
async fn an_event_that_fails_in_a_reused_instance_runs_again_in_a_fresh_one() {
    let Some(component) = guest("hostile") else { return };
    let component = with_manifest(component, &json!({"name": "hostile", "limits": {"reuse": 100}}));
    let set = |settings: &mut Settings| {
        settings.set("modules.max_reuse", "100");
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let receiver = Receiver::start().await;
    upload(&world, "hostile", component).await;
    world.endpoint(&endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}))).await;
    let flow = json!({"name": "f", "events": ["hostile.*"], "modules": [{"name": "hostile"}],
                      "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;
    for _ in 0..10 {
        world.event(&order(&json!({"do": "spoil"}))).await;
        world.event(&order(&json!({"do": "echo"}))).await;
    }
    receiver.wait_for("/sink", 20).await;
    assert_eq!(world.get(DEAD).await, json!([]));
    let shown = world.get("/api/v1/modules/hostile").await;
    let met = shown.to_string().contains("module_trap");
    assert!(met, "no event met an instance that another one had spoilt: {shown:#}");
}

#[tokio::test]
async fn a_guest_reaches_nothing() {
    let Some((world, receiver)) =
        with_guest(Sqlite, "probe", &json!({"events": ["probe.*"]}), &["sink"]).await
    else {
        return;
    };
    let address = receiver.url("/").replace("http://", "").replace('/', "");
    let probe = json!({"connect": address, "resolve": "localhost"});
    let event = json!({"type": "probe.order", "data": probe});
    let id = world.event(&event).await;
    let report = receiver.first("/sink").await.json()["payload"].clone();
    assert_eq!([&report["arguments"], &report["variables"]], [0, 0]);
    assert_eq!(report["readable"], json!([]));
    for never in ["writable", "connected", "resolved"] {
        assert_eq!(report[never], false, "{never}");
    }
    // The clock and the random numbers are the event's: a second run gives the same result.
    world.post(&format!("/api/v1/events/{id}/replay"), &json!({})).await;
    let again = receiver.wait_for("/sink", 2).await[1].json()["payload"].clone();
    assert_eq!([&again["clock"], &again["random"]], [&report["clock"], &report["random"]]);
}

/// Returns the members of all steps with this name.
fn members(found: &Value, name: &str) -> Vec<Value> {
    let steps = found["steps"].as_array().unwrap().iter();
    steps.filter_map(|step| step.get(name).cloned()).collect()
}

#[rstest]
#[tokio::test]
async fn the_trace_shows_what_modules_returned_until_the_payload_goes(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((mut world, receiver)) = with_hostile(backend).await else { return };
    let split = world.event(&order(&json!({"do": "split", "count": 2}))).await;
    let route = json!({"do": "route", "to": ["other"], "dedupe_key": "k", "ordering_key": "o"});
    let routed = world.event(&order(&route)).await;
    receiver.wait_for("/sink", 2).await;
    receiver.first("/other").await;

    let path = format!("/api/v1/events/{split}");
    let settled = |found: &Value| {
        let deliveries = found["deliveries"].as_array();
        deliveries.is_some_and(|all| all.iter().all(|one| one["status"] == "delivered"))
    };
    let trace = world.eventually(&path, settled).await;
    let drafts = members(&trace, "drafts");
    assert_eq!(drafts.len(), 1, "only the transform made any: {trace:#}");
    assert_eq!(drafts[0][1]["data"], json!({"do": "split", "count": 2, "index": 1}));
    let dispatches = members(&trace, "dispatches");
    assert_eq!(dispatches[0][1]["draft"], drafts[0][1]["id"], "{trace:#}");
    assert_eq!(dispatches[0][1]["endpoint"], "sink");

    let trace = world.get(&format!("/api/v1/events/{routed}")).await;
    assert_eq!(members(&trace, "drafts")[0][0]["same_data"], true, "{trace:#}");
    let dispatch = &members(&trace, "dispatches")[0][0];
    assert_eq!([&dispatch["dedupe_key"], &dispatch["ordering_key"]], ["k", "o"]);

    world.restart_with(|settings| {
        settings.set("retention.payloads", "1s");
    });
    let pruned = world.eventually(&path, |found| found["payload_pruned_at"].is_string()).await;
    assert!(members(&pruned, "drafts").is_empty(), "{pruned:#}");
    assert!(members(&pruned, "dispatches").is_empty(), "{pruned:#}");
    assert_eq!(members(&pruned, "verdict").len(), 3, "what the modules said stays: {pruned:#}");
}

#[tokio::test]
async fn a_long_draft_is_cut_in_the_trace() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let text = "x".repeat(100_000);
    let long = json!({"do": "draft", "payload": {"do": "echo", "text": text}});
    let id = world.event(&order(&long)).await;
    receiver.first("/sink").await;
    let trace = world.get(&format!("/api/v1/events/{id}")).await;
    let drafts = members(&trace, "drafts");
    assert!(drafts[0][0]["data_cut"]["bytes"].as_u64() > Some(100_000), "{trace:#}");
    assert!(drafts.iter().map(|draft| draft.to_string().len()).sum::<usize>() < 17 << 10);
}

#[tokio::test]
async fn an_upload_is_a_version_that_can_be_activated_and_taken_back() {
    let Some(world) = World::start(Sqlite).await else { return };
    let (Some(first), Some(second)) = (guest("hot-leads"), guest("lead-to-slack")) else { return };
    let put = |activate: bool, component: Vec<u8>| {
        let path = format!("/api/v1/modules/mine?activate={activate}");
        world.client().send(Call::post(&path, "application/wasm", component))
    };
    let one = put(true, first).await.unwrap().data();
    assert_eq!([&one["version"], &one["active"]], [&json!(1), &json!(true)]);
    assert_eq!(one["sha256"].as_str().unwrap().len(), 64);
    let report = one["report"].to_string();
    assert!(report.contains("filter") && report.contains("route"), "{report}");
    let two = put(false, second).await.unwrap().data();
    assert_eq!([&two["version"], &two["active"]], [&json!(2), &json!(false)]);
    let active = async || {
        let versions = world.get("/api/v1/modules/mine").await;
        let active: Vec<u64> = versions
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["active"] == true)
            .map(|one| one["version"].as_u64().unwrap())
            .collect();
        active
    };
    assert_eq!(active().await, [1]);
    for version in [2, 1] {
        let path = format!("/api/v1/modules/mine/versions/{version}/activate");
        world.post(&path, &json!({})).await;
        assert_eq!(active().await, [version]);
    }
    let none = Call::new(Method::POST, "/api/v1/modules/mine/versions/3/activate");
    problem(&world.client().send(none).await.unwrap(), 404);
}

#[tokio::test]
async fn a_run_tries_a_module_and_delivers_nothing() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let run = "/api/v1/modules/hostile/run";
    let tried = world.post(run, &json!({"event": order(&json!({"do": "split"}))})).await;
    assert_eq!(tried["version"], 1);
    assert_eq!(tried["end"], "out", "{tried:#}");
    let failed = world.post(run, &json!({"event": order(&json!({"do": "panic"}))})).await;
    assert_eq!(failed["end"], "failed");
    assert!(failed["reason"].as_str().unwrap().contains("module_trap"), "{failed:#}");
    let id = world.event(&order(&json!({"do": "drop"}))).await;
    let stored = world.post(run, &json!({"event_id": id})).await;
    assert_eq!([&stored["end"], &stored["reason"]], ["dropped", "told to"]);
    assert_eq!(world.get("/api/v1/deliveries").await, json!([]));
    assert_eq!(receiver.count("/sink"), 0);
}

/// This includes the clock, which shows the capture time and not the time that the event states.
#[tokio::test]
async fn a_run_on_a_stored_event_sees_what_its_flow_saw() {
    let flow = json!({"events": ["probe.*"]});
    let set = with_guest(Sqlite, "probe", &flow, &["sink"]).await;
    let Some((world, receiver)) = set else { return };
    let event =
        json!({"type": "probe.order", "occurred_at": "2026-01-02T03:04:05Z", "data": {"sleep": 0}});
    let id = world.event(&event).await;
    let seen = receiver.first("/sink").await.json()["payload"].clone();
    let tried = world.post("/api/v1/modules/probe/run", &json!({"event_id": id})).await;
    let data = text(&tried["out"][0]["draft"], "data");
    let trial: Value = serde_json::from_str(&data).unwrap();
    assert_eq!([&trial["clock"], &trial["random"]], [&seen["clock"], &seen["random"]]);
}

/// Returns a core module, a text, and a truncated component.
fn no_components() -> Vec<(&'static str, Vec<u8>)> {
    let core = vec![0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
    let empty_component = vec![0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];
    let mut cut = guest("hot-leads").unwrap_or_default();
    cut.truncate(cut.len() / 2);
    vec![
        ("nothing", Vec::new()),
        ("a text", b"fn main() {}".to_vec()),
        ("a core module", core),
        ("a component without a role", empty_component),
        ("cut off", cut),
    ]
}

#[tokio::test]
async fn what_is_no_module_is_refused_and_told_why() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (what, component) in no_components() {
        let answer = upload(&world, "bad", component).await;
        let errors = problem(&answer, 422);
        assert!(!errors.is_empty() && !errors[0].1.is_empty(), "{what}: {}", answer.text());
    }
    let huge = vec![0; 5 << 20];
    problem(&upload(&world, "bad", huge).await, 413);
    let Some(good) = guest("hot-leads") else { return };
    let answer = upload(&world, "bad%20name%2F", good).await;
    assert!(!problem(&answer, 422).is_empty());
    assert_eq!(world.get("/api/v1/modules").await, json!([]));
}

#[tokio::test]
async fn a_flow_names_what_there_is() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (flow, path) in [
        (json!({"name": "f", "endpoints": ["nobody"]}), "endpoints[0]"),
        (json!({"name": "f", "endpoints": []}), "endpoints"),
        (json!({"name": "", "endpoints": ["nobody"]}), "name"),
        (json!({"name": "f", "events": ["nodots"], "endpoints": ["nobody"]}), "events[0]"),
        (json!({"name": "f", "colour": "red", "endpoints": ["nobody"]}), "colour"),
    ] {
        let answer = world.client().post("/api/v1/flows", &flow).await.unwrap();
        let errors = problem(&answer, 422);
        assert!(errors.iter().any(|(at, _)| at == path), "{flow}: {errors:?}");
    }
    world.endpoint(&endpoint_with("erp", "https://erp.example/", &json!({"events": []}))).await;
    let missing = json!({"name": "f", "modules": [{"name": "nothing"}], "endpoints": ["erp"]});
    let errors = problem(&world.client().post("/api/v1/flows", &missing).await.unwrap(), 422);
    assert!(errors[0].0.starts_with("modules[0]"), "{errors:?}");
}

#[rstest]
#[tokio::test]
async fn a_flow_without_modules_passes_the_events_of_its_sources(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let mut secrets = Vec::new();
    for name in ["a", "b"] {
        let settings =
            endpoint_with(name, &receiver.url(&format!("/{name}")), &json!({"events": []}));
        secrets.push(text(&world.endpoint(&settings).await, "secret"));
    }
    let flow =
        json!({"name": "f", "sources": ["crm"], "events": ["lead.*"], "endpoints": ["a", "b"]});
    let made = world.post("/api/v1/flows", &flow).await;
    assert!(text(&made, "id").starts_with("flw_"));
    world.restart();
    let lead = |source: &str, kind: &str| json!({"type": kind, "source": source, "data": {}});
    world.event(&lead("form", "lead.created")).await;
    world.event(&lead("crm", "invoice.paid")).await;
    let id = world.event(&lead("crm", "lead.created")).await;
    for (path, secret) in ["/a", "/b"].into_iter().zip(&secrets) {
        let arrival = receiver.first(path).await;
        assert_eq!(arrival.json()["id"], id);
        assert!(verified(&arrival, secret));
    }
    let planned = world.get("/api/v1/deliveries").await;
    assert_eq!(texts(&planned, "event_id"), [id.clone(), id]);
    let path = format!("/api/v1/flows/{}", text(&made, "id"));
    let answer = world.client().delete("/api/v1/endpoints/a").await.unwrap();
    problem(&answer, 409);
    assert_eq!(world.client().delete(&path).await.unwrap().status, 204);
    assert_eq!(world.client().delete("/api/v1/endpoints/a").await.unwrap().status, 204);
}
