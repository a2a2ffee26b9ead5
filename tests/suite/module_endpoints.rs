//! Endpoints of kind `module`: a module says which requests a delivery takes and what their answers
//! mean. The host makes the requests.

use std::collections::BTreeSet;

use bytes::Bytes;
use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Answer, Receiver, Reply, Settings, World};

use crate::support::{endpoint_with, merged, problem, with_manifest};

const DEAD: &str = "/api/v1/dead-letters";
const ENDPOINTS: &str = "/api/v1/endpoints";

async fn upload(world: &World, name: &str, query: &str, component: Vec<u8>) -> Answer {
    let path = format!("/api/v1/modules/{name}{query}");
    world.client().send(Call::post(&path, "application/wasm", component)).await.unwrap()
}

fn host_of(receiver: &Receiver) -> String {
    format!("127.0.0.1:{}", receiver.port())
}

/// Returns a channel with a manifest that asks for the receiver and for these capabilities.
fn channel(name: &str, receiver: &Receiver, capabilities: &Value) -> Option<Vec<u8>> {
    let capabilities = merged(json!({"http": [host_of(receiver)]}), capabilities);
    let config = json!({"required": ["base"], "properties": {"base": {"type": "string"}}});
    let manifest = json!({"name": name, "capabilities": capabilities, "config": config});
    Some(with_manifest(guest(name)?, &manifest))
}

/// Returns an endpoint `courier` for `order.*` that delivers by the guest of that name.
fn courier(receiver: &Receiver, more: &Value) -> Value {
    let settings = json!({"module": "courier", "config": {"base": receiver.url("")}});
    let own = json!({"kind": "module", "settings": settings, "events": ["order.*"]});
    endpoint_with("courier", "module://courier", &merged(own, more))
}

/// Starts a world with the endpoint `courier`, whose module has these capabilities, and an endpoint
/// for the events that it emits.
async fn delivering(backend: Backend, capabilities: &Value) -> Option<(World, Receiver)> {
    let receiver = Receiver::start().await;
    let component = channel("courier", &receiver, capabilities)?;
    let world = world_beside(backend, &receiver).await?;
    let made = upload(&world, "courier", "?activate=true&approve=http", component).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    world.endpoint(&courier(&receiver, &json!({}))).await;
    let facts = json!({"events": ["fact.*"]});
    world.endpoint(&endpoint_with("facts", &receiver.url("/facts"), &facts)).await;
    Some((world, receiver))
}

/// Starts a world whose modules may send plain requests to this receiver.
async fn world_beside(backend: Backend, receiver: &Receiver) -> Option<World> {
    let host = host_of(receiver);
    let set = |settings: &mut Settings| {
        settings.set("modules.plain_http", &format!("[\"{host}\"]"));
        settings.set("modules.policy", r#"{ secrets = "allow" }"#);
    };
    World::start_with(backend, set).await
}

fn order(data: &Value) -> Value {
    json!({"type": "order.made", "resource": "order", "resource_id": "7", "data": data})
}

fn json_reply(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status, headers, body: Bytes::from(body.to_string()) }
}

/// Waits for a delivery of the endpoint `courier` in this status, and returns it with its attempts.
async fn settled(world: &World, status: &str) -> Value {
    let path = format!("/api/v1/deliveries?endpoint=courier&status={status}");
    let found = world.eventually(&path, |found| found[0]["id"].is_string()).await;
    world.get(&format!("/api/v1/deliveries/{}", text(&found[0], "id"))).await
}

/// Waits until this many deliveries of an endpoint have arrived.
async fn delivered(world: &World, endpoint: &str, count: usize) {
    let path = format!("/api/v1/deliveries?endpoint={endpoint}&status=delivered&limit=200");
    world.eventually(&path, |found| found.as_array().unwrap().len() >= count).await;
}

#[rstest]
#[tokio::test]
async fn a_module_delivers_and_tells_what_was_made(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = delivering(backend, &json!({})).await else { return };
    receiver.always("/first", json_reply(201, &json!({"id": "r-17"})));
    let map = json!({"field_map": {"exclude": ["hidden"]}});
    let changed = world.client().patch(&format!("{ENDPOINTS}/courier"), &map).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    let headers = json!([["x-own", "1"], ["x-api-key", "s3cret"]]);
    world.event(&order(&json!({"body": {"n": 1}, "headers": headers, "hidden": 5}))).await;
    let arrival = receiver.first("/first").await;
    let told = arrival.json();
    assert_eq!((&told["endpoint"], &told["attempt"]), (&json!("courier"), &json!(1)));
    assert_eq!((&told["kind"], &told["subject"]), (&json!("order.made"), &json!("7")));
    assert_eq!((&told["body"], &told["operation"]), (&json!({"n": 1}), &json!(null)));
    assert_eq!(arrival.header("webhook-signature"), "", "nothing is signed");
    let delivery = settled(&world, "delivered").await;
    assert_eq!(delivery["id"], told["delivery"]);
    let attempt = &delivery["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["receiver_id"]), (&json!(201), &json!("r-17")));
    let shown = &attempt["request_headers"];
    let version = world.get("/api/v1/modules/courier/versions/1").await;
    let module = format!("courier version 1, sha256 {}", text(&version, "sha256"));
    assert_eq!(shown["(module)"], module.as_str());
    assert_eq!(shown["(request)"], format!("POST {}", receiver.url("/first")));
    assert_eq!((&shown["x-own"], &shown["x-api-key"]), (&json!("1"), &json!("***")));
    assert_eq!(shown["(log)"], "info: renders attempt 1");
}

#[tokio::test]
async fn a_look_up_comes_before_a_write() {
    let Some((world, receiver)) = delivering(Sqlite, &json!({})).await else { return };
    receiver.always("/first", Reply::Status(404));
    receiver.always("/third", json_reply(200, &json!({"id": "made"})));
    world.event(&order(&json!({"next": ["/second", "/third"]}))).await;
    let delivery = settled(&world, "delivered").await;
    let attempt = &delivery["attempts"][0];
    let shown = &attempt["request_headers"];
    let first = format!("POST {}: answered 404", receiver.url("/first"));
    let second = format!("GET {}: answered 200", receiver.url("/second"));
    assert_eq!((&shown["(request 1)"], &shown["(request 2)"]), (&json!(first), &json!(second)));
    assert_eq!(shown["(request)"], format!("GET {}", receiver.url("/third")));
    assert_eq!(attempt["receiver_id"], "made");
    assert_eq!(
        [receiver.count("/first"), receiver.count("/second"), receiver.count("/third")],
        [1; 3]
    );
}

#[tokio::test]
async fn an_attempt_has_eight_requests_at_most() {
    let Some((world, receiver)) = delivering(Sqlite, &json!({})).await else { return };
    world.event(&order(&json!({"endless": true}))).await;
    let dead = world.eventually(DEAD, |found| found[0]["reason"].is_string()).await;
    assert_eq!(dead[0]["reason"], "module_request", "{dead:#}");
    assert!(text(&dead[0], "detail").contains("more than 8 requests"), "{dead:#}");
    assert_eq!([receiver.count("/first"), receiver.count("/endless")], [1, 7]);
    let limit = json!({"settings": {"module": "courier", "config": {"base": receiver.url("")}, "max_requests": 2}});
    let changed = world.client().patch(&format!("{ENDPOINTS}/courier"), &limit).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    world.event(&order(&json!({"endless": true}))).await;
    world.eventually(DEAD, |found| found[1]["reason"].is_string()).await;
    assert_eq!([receiver.count("/first"), receiver.count("/endless")], [2, 8]);
}

#[rstest]
#[tokio::test]
async fn refusals_are_tried_again_on_the_schedule(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = delivering(backend, &json!({})).await else { return };
    receiver.script("/first", [Reply::Status(503), Reply::retry_after(429, 1), Reply::Vanish]);
    world.event(&order(&json!({}))).await;
    let arrivals = receiver.wait_for("/first", 4).await;
    let delivery = settled(&world, "delivered").await;
    let attempts = delivery["attempts"].as_array().unwrap();
    let classes: Vec<&Value> = attempts.iter().map(|attempt| &attempt["error_class"]).collect();
    assert_eq!(classes[..2], [&json!("deferred"), &json!("deferred")], "{delivery:#}");
    assert_eq!(classes[2..], [&json!("connection_lost"), &Value::Null], "{delivery:#}");
    assert_eq!(attempts[0]["error"], "refused: the receiver answered 503");
    let ids: BTreeSet<String> =
        arrivals.iter().map(|arrival| text(&arrival.json(), "delivery")).collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), [text(&delivery, "id")]);
    let numbers: Vec<Value> =
        arrivals.iter().map(|arrival| arrival.json()["attempt"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "the module is told which attempt it is");
}

#[rstest]
#[tokio::test]
async fn a_permanent_failure_is_a_dead_letter_to_replay(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = delivering(backend, &json!({})).await else { return };
    receiver.script("/first", [Reply::Status(422)]);
    world.event(&order(&json!({}))).await;
    let dead = world.eventually(DEAD, |found| found[0]["reason"].is_string()).await;
    assert_eq!(dead[0]["reason"], "rejected", "{dead:#}");
    assert!(text(&dead[0], "detail").contains("refused: the receiver answered 422"), "{dead:#}");
    let replay = format!("{DEAD}/{}/replay", text(&dead[0], "id"));
    world.post(&replay, &json!({})).await;
    let delivery = settled(&world, "delivered").await;
    let arrivals = receiver.wait_for("/first", 2).await;
    assert!(arrivals.iter().all(|arrival| arrival.json()["delivery"] == delivery["id"]));
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_not_called() {
    let Some((world, receiver)) = delivering(Sqlite, &json!({})).await else { return };
    let other = Receiver::start().await;
    world.event(&order(&json!({"url": other.url("/first")}))).await;
    let dead = world.eventually(DEAD, |found| found[0]["reason"].is_string()).await;
    assert_eq!(dead[0]["reason"], "retries_exhausted", "an operator could have granted it");
    let delivery = settled(&world, "dead").await;
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["error_class"], "module_request", "{delivery:#}");
    assert!(text(attempt, "error").contains("denied: "), "{delivery:#}");
    assert_eq!(attempt["request_headers"]["(request)"], Value::Null);
    assert_eq!([other.count("/first"), receiver.count("/first")], [0, 0]);
    let secure = format!("https://{}/first", host_of(&other));
    let large = json!({"headers": [["x-large", "y".repeat(20_000)]]});
    let own = json!({"headers": [["host", "evil.example"]]});
    for (data, said) in
        [(json!({"url": secure}), "denied"), (large, "limit: "), (own, "invalid: header `host`")]
    {
        world.event(&order(&data)).await;
        let has_it = |found: &Value| found.to_string().contains(said);
        world.eventually(DEAD, has_it).await;
    }
    assert_eq!([other.count("/first"), receiver.count("/first")], [0, 0]);
}

#[rstest]
#[case::trap("trap", "module_trap", "told to trap")]
#[case::memory("eat", "module_memory", "bytes of memory")]
#[case::output("large", "module_output", "bytes in one call")]
#[case::endless_loop("loop", "retries_exhausted", "took longer than")]
#[tokio::test]
async fn a_hostile_module_harms_only_its_own_delivery(
    #[case] how: &str,
    #[case] reason: &str,
    #[case] said: &str,
    #[values("render", "classify")] function: &str,
) {
    let Some((world, receiver)) = delivering(Sqlite, &json!({})).await else { return };
    let one = json!({"max_in_flight": 1, "retry": {"schedule": ["50ms"]}});
    let changed = world.client().patch(&format!("{ENDPOINTS}/courier"), &one).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    world.event(&order(&json!({function: how}))).await;
    world.event(&order(&json!({}))).await;
    delivered(&world, "courier", 1).await;
    let dead = world.eventually(DEAD, |found| found[0]["reason"].is_string()).await;
    assert_eq!(dead[0]["reason"], reason, "{dead:#}");
    assert!(text(&dead[0], "detail").contains(said), "{dead:#}");
    let letter = settled(&world, "dead").await;
    let classes: BTreeSet<&str> = letter["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["error_class"].as_str().unwrap())
        .collect();
    let class = if how == "loop" { "module_timeout" } else { reason };
    assert_eq!(classes.into_iter().collect::<Vec<_>>(), [class], "{letter:#}");
    if function == "render" {
        assert_eq!(receiver.count("/first"), 1, "that of the other event");
    }
}

#[tokio::test]
async fn what_a_channel_has_no_use_for_is_denied() {
    let all = json!({"state": {}, "records": {}, "deliveries": true, "counters": ["tries"],
        "secrets": ["other"], "emit": ["courier.*"]});
    let Some((world, receiver)) = delivering(Sqlite, &all).await else { return };
    world.event(&order(&json!({"escape": true}))).await;
    let denied = json!(["denied", "denied", "denied", "denied", "denied", "denied"]);
    assert_eq!(receiver.first("/first").await.json(), denied);
    let delivery = settled(&world, "delivered").await;
    let codes = text(&delivery["attempts"][0], "receiver_id");
    let codes: Value = serde_json::from_str(&codes).unwrap();
    assert_eq!(codes, json!(["denied", "denied", "denied", "denied", "denied", "ok"]));
    let versions = world.get("/api/v1/modules/courier").await;
    assert!(versions[0]["counters"].is_null(), "{versions:#}");
}

#[rstest]
#[tokio::test]
async fn an_emitted_event_comes_with_the_attempt_and_once(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let emit = json!({"emit": ["fact.*"]});
    let Some((world, receiver)) = delivering(backend, &emit).await else { return };
    receiver.script("/first", [Reply::Status(503)]);
    world.event(&order(&json!({"emit": "fact.posted"}))).await;
    let told = receiver.first("/facts").await.json();
    let delivery = settled(&world, "delivered").await;
    assert_eq!((&told["event"], &told["source"]), (&json!("fact.posted"), &json!("courier")));
    assert_eq!(told["payload"], json!({"statuses": [200]}), "the failed attempt emitted nothing");
    let event = world.get(&format!("/api/v1/events/{}", text(&told, "id"))).await;
    assert_eq!(event["attributes"]["waybill-caused-by"], delivery["id"], "{event:#}");
    assert_eq!(event["attributes"]["waybill-hops"], "1", "{event:#}");
    let replay = format!("/api/v1/deliveries/{}/replay", text(&delivery, "id"));
    world.post(&replay, &json!({})).await;
    receiver.wait_for("/first", 3).await;
    let is_over = |found: &Value| found["attempts"].as_array().unwrap().len() == 3;
    world.eventually(&format!("/api/v1/deliveries/{}", text(&delivery, "id")), is_over).await;
    world.event(&order(&json!({"emit": "fact.last", "key": "k"}))).await;
    world.event(&order(&json!({"emit": "fact.last", "key": "k"}))).await;
    delivered(&world, "courier", 3).await;
    delivered(&world, "facts", 2).await;
    let facts: Vec<String> =
        receiver.arrivals("/facts").iter().map(|arrival| text(&arrival.json(), "event")).collect();
    assert_eq!(facts, ["fact.posted", "fact.last"], "a replay and a repeated key bring none");
    let stored = world.get("/api/v1/events?source=courier").await;
    assert_eq!(stored.as_array().unwrap().len(), 2, "{stored:#}");
}

#[tokio::test]
async fn an_emitted_event_counts_its_hops() {
    let emit = json!({"emit": ["order.*"]});
    let Some((world, receiver)) = delivering(Sqlite, &emit).await else { return };
    world.event(&order(&json!({"emit": "order.again"}))).await;
    let arrivals = receiver.wait_for("/first", 2).await;
    assert_eq!(arrivals[1].json()["hops"], "1");
    assert_eq!(arrivals[0].json()["hops"], Value::Null);
}

#[rstest]
#[tokio::test]
async fn a_killed_server_loses_no_delivery_and_no_event(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    const EVENTS: usize = 60;
    let emit = json!({"emit": ["fact.*"]});
    let Some((mut world, receiver)) = delivering(backend, &emit).await else { return };
    let one = |n: usize| order(&json!({"body": n, "emit": "fact.posted"}));
    let batch: Vec<Value> = (0..EVENTS).map(one).collect();
    world.post("/api/v1/events", &json!(batch)).await;
    receiver.wait_for("/first", EVENTS / 4).await;
    world.kill9();
    world.restart();
    delivered(&world, "courier", EVENTS).await;
    delivered(&world, "facts", EVENTS).await;
    let arrivals = receiver.arrivals("/first");
    let ids: BTreeSet<String> =
        arrivals.iter().map(|arrival| text(&arrival.json(), "delivery")).collect();
    let bodies: BTreeSet<String> =
        arrivals.iter().map(|arrival| arrival.json()["body"].to_string()).collect();
    assert_eq!((ids.len(), bodies.len()), (EVENTS, EVENTS), "a repeat has the same delivery id");
    let facts = world.get("/api/v1/events?source=courier&limit=200").await;
    assert_eq!(facts.as_array().unwrap().len(), EVENTS, "one event for each delivery");
}

#[rstest]
#[tokio::test]
async fn a_secret_is_filled_in_and_never_shown(#[values(Sqlite, Postgres)] backend: Backend) {
    let secrets = json!({"secrets": ["key", "query", "gone"]});
    let Some((world, receiver)) = delivering(backend, &secrets).await else { return };
    let host = host_of(&receiver);
    for secret in [
        json!({"name": "key", "secret": "marked-one", "hosts": [host], "header": "authorization", "prefix": "Bearer "}),
        json!({"name": "query", "secret": "marked-two", "hosts": [host], "query": "token"}),
    ] {
        world.post("/api/v1/secrets", &secret).await;
    }
    let echo = json!({"id": "Bearer marked-one", "saw": "marked-two"});
    receiver.always("/first?token=marked-two", json_reply(200, &echo));
    world.event(&order(&json!({"secrets": ["key", "query"]}))).await;
    let arrival = receiver.first("/first?token=marked-two").await;
    assert_eq!(arrival.header("authorization"), "Bearer marked-one");
    let delivery = settled(&world, "delivered").await;
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["request_headers"]["authorization"], "***", "{delivery:#}");
    let place = format!("POST {}", receiver.url("/first?token=***"));
    assert_eq!(attempt["request_headers"]["(request)"], place);
    assert!(!delivery.to_string().contains("marked"), "{delivery:#}");
    world.event(&order(&json!({"secrets": ["gone"]}))).await;
    let dead = world.eventually(DEAD, |found| found[0]["reason"].is_string()).await;
    assert!(text(&dead[0], "detail").contains("unknown_secret"), "{dead:#}");
    let events = world.client().get("/api/v1/events").await.unwrap().text();
    assert!(!events.contains("marked"), "{events}");
}

#[tokio::test]
async fn an_endpoint_names_a_module_that_fits() {
    let Some((world, receiver)) = delivering(Sqlite, &json!({})).await else { return };
    let Some(sender) = guest("sender") else { return };
    upload(&world, "sender", "?activate=true", sender.clone()).await;
    let base = receiver.url("");
    for (settings, place, said) in [
        (json!({"module": "nobody"}), "settings.module", "no module `nobody`"),
        (json!({"module": "sender"}), "settings.module", "role `channel`"),
        (json!({"module": "courier", "version": 9}), "settings.version", "no version 9"),
        (json!({"module": "courier"}), "settings.config", "base"),
        (json!({"module": "courier", "config": {"base": 1}}), "settings.config.base", "string"),
        (
            json!({"module": "courier", "config": {"base": base, "bas": 1}}),
            "settings.config.bas",
            "`base`",
        ),
    ] {
        let given =
            merged(courier(&receiver, &json!({})), &json!({"name": "other", "settings": settings}));
        let answer = world.client().post(ENDPOINTS, &given).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, place, "{faults:?}");
        assert!(faults[0].1.contains(said), "{faults:?}");
        let document = json!({"endpoints": [given]});
        let answer = world.client().put("/api/v1/config", &document).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, format!("endpoints[0].{place}"));
    }
    let flow = json!({"name": "f", "modules": [{"name": "courier", "config": {"base": base}}], "endpoints": ["facts"]});
    let answer = world.client().post("/api/v1/flows", &flow).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "modules[0].name");
    let tried = world.client().post("/api/v1/modules/courier/run", &json!({})).await.unwrap();
    assert_eq!(problem(&tried, 422)[0].0, "version");
    // A version that the endpoint could not use is not activated.
    for query in ["?activate=true", ""] {
        let answer = upload(&world, "courier", query, sender.clone()).await;
        let answer = if query.is_empty() {
            let activate = "/api/v1/modules/courier/versions/2/activate";
            world.client().post(activate, &json!({})).await.unwrap()
        } else {
            answer
        };
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, "endpoints[courier].settings.module", "{faults:?}");
    }
}

/// A file takes the place of the folder with the compiled modules, so that the host cannot load
/// any.
#[rstest]
#[tokio::test]
async fn deliveries_wait_while_the_module_cannot_run(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = delivering(backend, &json!({})).await else { return };
    let Some(second) = channel("courier", &receiver, &json!({"emit": ["fact.*"]})) else { return };
    upload(&world, "courier", "?activate=true&approve=http", second).await;
    let (folder, aside) = (world.folder().join("waybill-modules"), world.folder().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "").unwrap();
    world.post("/api/v1/modules/courier/versions/1/activate", &json!({})).await;
    world.event(&order(&json!({}))).await;
    let shown = world.get(&format!("{ENDPOINTS}/courier")).await;
    assert!(text(&shown, "warning").contains("could not be loaded"), "{shown:#}");
    let waiting = settled(&world, "pending").await;
    assert_eq!(waiting["attempts"], json!([]), "it is no attempt");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let delivery = settled(&world, "delivered").await;
    assert_eq!((&delivery["id"], receiver.count("/first")), (&waiting["id"], 1));
}

#[tokio::test]
async fn the_active_version_delivers_and_a_pinned_one_stays() {
    let Some((world, receiver)) = delivering(Sqlite, &json!({})).await else { return };
    let pinned = json!({"name": "pinned", "events": ["pin.*"], "settings":
        {"module": "courier", "version": 1, "config": {"base": receiver.url("/pinned")}}});
    let Some(second) = channel("courier", &receiver, &json!({"emit": ["fact.*"]})) else { return };
    world.endpoint(&merged(courier(&receiver, &json!({})), &pinned)).await;
    let made = upload(&world, "courier", "?activate=true&approve=http", second).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    world.event(&order(&json!({}))).await;
    world.event(&json!({"type": "pin.made", "data": {}})).await;
    delivered(&world, "courier", 1).await;
    delivered(&world, "pinned", 1).await;
    let delivery = settled(&world, "delivered").await;
    let module = text(&delivery["attempts"][0]["request_headers"], "(module)");
    assert!(module.starts_with("courier version 2, "), "{module}");
    let found = world.get("/api/v1/deliveries?endpoint=pinned").await;
    let found = world.get(&format!("/api/v1/deliveries/{}", text(&found[0], "id"))).await;
    let module = text(&found["attempts"][0]["request_headers"], "(module)");
    assert!(module.starts_with("courier version 1, "), "{module}");
}

/// The example posts one thread for each record, and what it posted becomes an event.
#[rstest]
#[tokio::test]
async fn the_slack_example_threads_by_record(#[values(Sqlite, Postgres)] backend: Backend) {
    let receiver = Receiver::start().await;
    let host = host_of(&receiver);
    let manifest = json!({"name": "slack-thread", "capabilities":
        {"http": [host], "secrets": ["slack"], "emit": ["slack.posted"]}});
    let Some(component) = guest("slack-thread") else { return };
    let Some(world) = world_beside(backend, &receiver).await else { return };
    let component = with_manifest(component, &manifest);
    upload(&world, "slack-thread", "?activate=true&approve=http", component).await;
    let secret = json!({"name": "slack", "secret": "xoxb-marked", "hosts": [host],
        "header": "authorization", "prefix": "Bearer "});
    world.post("/api/v1/secrets", &secret).await;
    let config = json!({"channel": "C1", "title": "number", "api": receiver.url("/api")});
    let settings = json!({"module": "slack-thread", "config": config});
    let slack =
        json!({"kind": "module", "settings": settings, "events": ["invoice.*"], "ordered": true});
    world.endpoint(&endpoint_with("slack", "module://slack", &slack)).await;
    let posted = json!({"events": ["slack.posted"]});
    world.endpoint(&endpoint_with("facts", &receiver.url("/facts"), &posted)).await;
    let history = "/api/conversations.history?channel=C1&limit=200&include_all_metadata=true";
    let post = "/api/chat.postMessage";
    receiver.script(history, [json_reply(200, &json!({"ok": true, "messages": []}))]);
    receiver.script(post, ["1.1", "2.2"].map(|ts| json_reply(200, &json!({"ok": true, "ts": ts}))));
    let invoice = |kind: &str| json!({"type": kind, "resource": "invoice", "resource_id": "17", "data": {"number": "INV-7"}});
    world.event(&invoice("invoice.created")).await;
    let first = receiver.first(post).await;
    assert_eq!(first.header("authorization"), "Bearer xoxb-marked");
    let message = first.json();
    assert_eq!((&message["channel"], &message["thread_ts"]), (&json!("C1"), &Value::Null));
    assert_eq!(message["text"], "INV-7 (invoice.created)");
    let fact = receiver.first("/facts").await.json();
    assert_eq!((&fact["source"], &fact["resource_id"]), (&json!("slack"), &json!("1.1")));
    // Slack tells the message with its metadata from now on.
    let root = json!({"ts": "1.1", "metadata": message["metadata"]});
    receiver.always(history, json_reply(200, &json!({"ok": true, "messages": [root]})));
    world.event(&invoice("invoice.paid")).await;
    let reply = receiver.wait_for(post, 2).await[1].json();
    assert_eq!(
        (&reply["thread_ts"], &reply["text"]),
        (&json!("1.1"), &json!("INV-7 (invoice.paid)"))
    );
    let facts = receiver.wait_for("/facts", 2).await;
    assert_eq!(facts[1].json()["payload"]["thread_ts"], "1.1");
    let deliveries = world.client().get("/api/v1/deliveries?endpoint=slack").await.unwrap().text();
    assert!(!deliveries.contains("marked"), "{deliveries}");
    receiver.always(post, json_reply(200, &json!({"ok": false, "error": "channel_not_found"})));
    world.event(&invoice("invoice.overdue")).await;
    let dead = world.eventually(DEAD, |found| found[0]["reason"].is_string()).await;
    assert_eq!(dead[0]["reason"], "rejected");
    assert!(text(&dead[0], "detail").contains("channel_not_found"), "{dead:#}");
}
