//! Webhook sources whose requests a module decodes.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Answer, Client, Receiver, Server, Settings, World};

use crate::receive::{SECRET, hex};
use crate::support::{endpoint_with, merged, problem, with_manifest};

const SOURCES: &str = "/api/v1/sources";
const SOURCE: &str = "/api/v1/sources/pay";
const EVENTS: &str = "/api/v1/events?source=pay&limit=200";
const MODULE: &str = "/api/v1/modules/origin";

pub(crate) async fn upload(world: &World, name: &str, query: &str, component: Vec<u8>) -> Answer {
    let path = format!("/api/v1/modules/{name}{query}");
    world.client().send(Call::post(&path, "application/wasm", component)).await.unwrap()
}

/// Returns the guest `origin` with a manifest that asks for these capabilities.
pub(crate) fn origin(capabilities: &Value) -> Option<Vec<u8>> {
    let key = json!({"type": "string"});
    let config = json!({"properties": {"base": key, "key": key}});
    let manifest = json!({"name": "origin", "capabilities": capabilities, "config": config});
    Some(with_manifest(guest("origin")?, &manifest))
}

/// Returns the source `pay`, signed as PerfexAPI does.
fn pay(more: &Value) -> Value {
    let webhook = json!({"scheme": "perfexapi", "module": {"name": "origin"}});
    json!({"name": "pay", "kind": "webhook", "webhook": merged(webhook, more), "secret": SECRET})
}

/// Starts a world with the source `pay`, whose module has these capabilities. No breaker opens.
async fn decoding(backend: Backend, capabilities: &Value) -> Option<World> {
    decoding_until(backend, capabilities, "0").await
}

/// Starts the same world, in which so many faults open a breaker.
async fn decoding_until(backend: Backend, capabilities: &Value, faults: &str) -> Option<World> {
    let component = origin(capabilities)?;
    let set = |settings: &mut Settings| {
        settings.set("modules.policy", r#"{ secrets = "allow", emit = "allow", state = "allow" }"#);
        settings.set("modules.breaker_faults", faults).set("modules.breaker_wait", "1h");
    };
    let world = World::start_with(backend, set).await?;
    let made = upload(&world, "origin", "?activate=true", component).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    world.post(SOURCES, &pay(&json!({}))).await;
    Some(world)
}

fn signed(path: &str, body: &str) -> Call {
    let call = Call::post(path, "application/json", body.to_owned());
    call.header("x-perfexapi-signature", &hex(&[body.as_bytes()]))
}

async fn send_with(client: &Client, body: &Value) -> Answer {
    client.send(signed("/in/pay", &body.to_string())).await.unwrap()
}

async fn send(world: &World, body: &Value) -> Answer {
    send_with(&world.client_with(None), body).await
}

fn made(kind: &str, key: &str) -> Value {
    json!({"kind": kind, "key": key, "subject": key, "data": {"id": key}})
}

/// Returns the keys of the stored events, in no order.
async fn stored(world: &World) -> Vec<String> {
    let found = world.get(EVENTS).await;
    let mut keys: Vec<String> =
        found.as_array().unwrap().iter().map(|event| text(event, "resource_id")).collect();
    keys.sort();
    keys
}

async fn refused(world: &World) -> Value {
    world.get(SOURCE).await["status"]["refused"].clone()
}

#[rstest]
#[tokio::test]
async fn one_request_brings_several_events_each_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = decoding(backend, &json!({})).await else { return };
    let receiver = Receiver::start().await;
    let hook = json!({"events": ["order.*"]});
    world.endpoint(&endpoint_with("hook", &receiver.url("/hook"), &hook)).await;
    let first = merged(
        made("order.paid", "a"),
        &json!({"time": "2026-05-03T12:00:00Z", "attributes": [["shop", "7"]]}),
    );
    let body = json!({"events": [first, made("order.sent", "b")]});
    let answer = send(&world, &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let receipts = answer.data();
    assert_eq!(receipts.as_array().unwrap().len(), 2, "{receipts:#}");
    let event = world.get(&format!("/api/v1/events/{}", text(&receipts[0], "id"))).await;
    assert_eq!((&event["type"], &event["source"]), (&json!("order.paid"), &json!("pay")));
    assert_eq!((&event["external_id"], &event["resource"]), (&json!("a"), &json!("order")));
    assert_eq!(event["attributes"]["shop"], "7", "{event:#}");
    assert!(text(&event, "occurred_at").starts_with("2026-05-03T12:00:00"), "{event:#}");
    receiver.wait_for("/hook", 2).await;
    let again =
        send(&world, &json!({"events": [made("order.paid", "a"), made("order.sent", "c")]})).await;
    let repeats: Vec<Value> =
        again.data().as_array().unwrap().iter().map(|one| one["duplicate"].clone()).collect();
    assert_eq!(repeats[0], json!(true), "{}", again.text());
    assert_eq!(stored(&world).await, ["a", "b", "c"]);
    let shown = world.get(MODULE).await;
    assert_eq!(shown[0]["figures"]["outcomes"], json!({"passed": 2}), "{shown:#}");
    let log = world.get(&format!("{MODULE}/logs")).await;
    let line = &log["lines"][0];
    assert_eq!((&line["role"], &line["flow"]), (&json!("source"), &json!("pay")), "{log:#}");
    assert_eq!((&line["message"], &line["event_id"]), (&json!("decodes POST "), &Value::Null));
}

#[tokio::test]
async fn a_request_without_events_is_accepted() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let answer = send(&world, &json!({})).await;
    assert_eq!((answer.status, answer.data()), (StatusCode::ACCEPTED, json!([])));
    assert_eq!(stored(&world).await, [""; 0]);
}

#[tokio::test]
async fn the_module_sees_the_request_without_credentials() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let body = json!({"echo": true}).to_string();
    let call = signed("/in/pay/v2/hooks?shop=7&shop=8", &body);
    let call = call
        .header("authorization", "Bearer marked")
        .header("x-own", "1")
        .header("cookie", "marked");
    let answer = world.client_with(None).send(call).await.unwrap();
    let event = world.get(&format!("/api/v1/events/{}", text(&answer.data(), "id"))).await;
    let seen = &event["data"];
    assert_eq!((&seen["method"], &seen["path"]), (&json!("POST"), &json!("v2/hooks")));
    assert_eq!((&seen["form"], &seen["body"]), (&json!("json"), &json!(body)));
    assert_eq!(seen["query"], json!([["shop", "7"], ["shop", "8"]]));
    let names: BTreeSet<String> = seen["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair[0].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains("x-own") && !names.contains("x-perfexapi-signature"), "{names:?}");
    assert!(!seen.to_string().contains("marked"), "{seen:#}");
    // Other sources have no addresses below theirs.
    let plain = json!({"name": "plain", "kind": "webhook", "webhook": {"scheme": "perfexapi"}, "secret": SECRET});
    world.post(SOURCES, &plain).await;
    let answer = world.client_with(None).send(signed("/in/plain/v2", &body)).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
}

#[tokio::test]
async fn a_get_is_decoded_once_it_is_verified() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let by_query =
        json!({"scheme": "token", "token": {"query": "key"}, "module": {"name": "origin"}});
    let sms = json!({"name": "sms", "kind": "webhook", "webhook": by_query, "secret": "marked"});
    world.post(SOURCES, &sms).await;
    let client = world.client_with(None);
    let get = |path: &str| client.send(Call::new(Method::GET, path));
    let wrong = get("/in/sms?text=hi&key=other").await.unwrap();
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{}", wrong.text());
    let answer = get("/in/sms?text=hi&key=marked").await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let event = world.get(&format!("/api/v1/events/{}", text(&answer.data(), "id"))).await;
    let seen = &event["data"];
    assert_eq!((&seen["method"], &seen["query"]), (&json!("GET"), &json!([["text", "hi"]])));
    // A signature over the body cannot prove who asks.
    let unsigned = get("/in/pay?a=1").await.unwrap();
    assert_eq!(unsigned.status, StatusCode::UNAUTHORIZED, "{}", unsigned.text());
}

#[tokio::test]
async fn the_module_answers_within_bounds() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let reply = |reply: Value, events: Vec<Value>| json!({"reply": reply, "events": events});
    let xml = json!({"status": 201, "headers": [["content-type", "text/xml"]], "body": "<a/>"});
    let answer = send(&world, &reply(xml, vec![made("order.paid", "a")])).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (201, "<a/>"));
    assert_eq!(answer.header("content-type"), "text/xml");
    assert_eq!(answer.header("content-security-policy"), "default-src 'none'; sandbox");
    let no = send(&world, &reply(json!({"status": 403, "body": "no"}), vec![])).await;
    assert_eq!((no.status.as_u16(), no.text().as_str()), (403, "no"));
    assert_eq!(stored(&world).await, ["a"]);
    for wrong in [
        reply(json!({"status": 403}), vec![made("order.paid", "b")]),
        reply(json!({"status": 302}), vec![]),
        reply(
            json!({"status": 200, "headers": [["set-cookie", "a=1"]]}),
            vec![made("order.paid", "b")],
        ),
        reply(json!({"status": 200, "body": "x".repeat(70_000)}), vec![made("order.paid", "b")]),
    ] {
        let answer = send(&world, &wrong).await;
        problem(&answer, 500);
    }
    assert_eq!(stored(&world).await, ["a"], "nothing of a refused result is stored");
    assert_eq!(refused(&world).await, json!({"module_output": 4}));
}

#[tokio::test]
async fn a_sender_is_told_whether_to_send_again() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let both = |more: Value| merged(json!({"events": [made("order.paid", "a")]}), &more);
    let bad = send(&world, &both(json!({"refuse": "no_shop"}))).await;
    assert_eq!(problem(&bad, 422)[0].0, "/refuse");
    assert!(text(&bad.json(), "detail").starts_with("no_shop: told to refuse"), "{}", bad.text());
    let later = send(&world, &both(json!({"later": "busy"}))).await;
    problem(&later, 503);
    assert_eq!(later.header("retry-after"), "7");
    let body = both(json!({})).to_string();
    let unsigned = Call::post("/in/pay", "application/json", body);
    let unsigned = world.client_with(None).send(unsigned).await.unwrap();
    problem(&unsigned, 401);
    assert_eq!(stored(&world).await, [""; 0]);
    let counts = json!({"module_refused": 1, "module_failure": 1, "unsigned": 1});
    assert_eq!(refused(&world).await, counts);
    let figures = world.get(MODULE).await[0]["figures"]["outcomes"].clone();
    assert_eq!(figures, json!({"module_failure": 2}), "an unsigned request reaches no module");
}

#[rstest]
#[tokio::test]
async fn a_module_that_fails_stores_nothing(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = decoding(backend, &json!({})).await else { return };
    let config = json!({"name": "origin", "config": {"key": "marked"}});
    let patch = json!({"webhook": {"scheme": "perfexapi", "module": config}});
    let changed = world.client().patch(SOURCE, &patch).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    let good = made("order.paid", "a");
    for (body, status, reason) in [
        (json!({"harm": "trap", "events": [good]}), 500, "module_trap"),
        (json!({"harm": "large", "events": [good]}), 500, "module_output"),
        (json!({"harm": "eat", "events": [good]}), 500, "module_memory"),
        (json!({"events": [good, made("order", "b")]}), 500, "module_output"),
        (json!({"harm": "loop", "events": [good]}), 503, "module_timeout"),
        (json!({"events": [good, made("waybill.alert.firing", "b")]}), 500, "module_output"),
        (json!({"events": [good, made("order.paid", "")]}), 500, "module_output"),
        (json!({"count": 1001}), 500, "module_output"),
    ] {
        let mut answer = send(&world, &body).await;
        // On a busy machine any call may take too long. The sender is told to send again.
        while status == 500 && answer.status == StatusCode::SERVICE_UNAVAILABLE {
            answer = send(&world, &body).await;
        }
        problem(&answer, status);
        assert!(!answer.text().contains("marked"), "{}", answer.text());
        assert_eq!(answer.header("retry-after").is_empty(), status == 500, "{}", answer.text());
        let counted = refused(&world).await;
        assert!(counted[reason].as_u64().is_some(), "{body}: {counted:#}");
    }
    assert_eq!(stored(&world).await, [""; 0]);
    while send(&world, &json!({"harm": "trap"})).await.status != StatusCode::INTERNAL_SERVER_ERROR {
    }
    let status = world.get(SOURCE).await["status"].clone();
    assert!(text(&status, "last_error").contains("told to trap beside marked"), "{status:#}");
    world.server().wait_for_line(&["a module failed to decode a request", "module_trap"]).unwrap();
    let most = send(&world, &json!({"count": 1000})).await;
    assert_eq!(most.data().as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn an_open_breaker_puts_senders_off_until_another_version_runs() {
    let Some(world) = decoding_until(Sqlite, &json!({}), "3").await else { return };
    for _ in 0..3 {
        problem(&send(&world, &json!({"harm": "trap"})).await, 500);
    }
    let good = json!({"events": [made("order.paid", "a")]});
    let answer = send(&world, &good).await;
    problem(&answer, 503);
    assert_eq!(answer.header("retry-after"), "30");
    assert_eq!(refused(&world).await["module_open"], 1);
    assert_eq!(world.get(MODULE).await[0]["breaker"]["state"], "open");
    let Some(second) = origin(&json!({"emit": ["order.*"]})) else { return };
    let made = upload(&world, "origin", "?activate=true", second).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(send(&world, &good).await.status, StatusCode::ACCEPTED);
    // Back to the first version, whose breaker was forgotten with it.
    world.post(&format!("{MODULE}/versions/1/activate"), &json!({})).await;
    assert_eq!(send(&world, &good).await.status, StatusCode::ACCEPTED);
    assert_eq!(stored(&world).await, ["a"]);
}

#[tokio::test]
async fn what_a_source_has_no_use_for_is_denied() {
    let all = json!({"state": {}, "records": {}, "deliveries": true, "counters": ["tries"],
        "secrets": ["other"], "emit": ["origin.*"], "http": ["escape.example"]});
    let Some(component) = origin(&all) else { return };
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let query = "?activate=true&approve=http,records,deliveries";
    let made = upload(&world, "origin", query, component).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let answer = send(&world, &json!({"escape": true})).await;
    let event = world.get(&format!("/api/v1/events/{}", text(&answer.data(), "id"))).await;
    let codes = json!(["denied", "denied", "denied", "denied", "denied", "denied"]);
    assert_eq!(event["data"], codes, "the secret `none` is not among its own");
    let versions = world.get(MODULE).await;
    assert!(
        versions.as_array().unwrap().iter().all(|one| one["counters"].is_null()),
        "{versions:#}"
    );
}

#[tokio::test]
async fn a_source_names_a_module_that_fits() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let Some(sender) = guest("sender") else { return };
    upload(&world, "sender", "?activate=true", sender.clone()).await;
    upload(&world, "idle", "", sender.clone()).await;
    for (more, place, said) in [
        (json!({"module": {"name": "nobody"}}), "module.name", "no module `nobody`"),
        (json!({"module": {"name": "sender"}}), "module.name", "role `source`"),
        (
            json!({"module": {"name": "idle"}}),
            "module.name",
            "no version of module `idle` is active",
        ),
        (json!({"module": {"name": "origin", "version": 9}}), "module.version", "no version 9"),
        (
            json!({"module": {"name": "origin", "config": {"key": 1}}}),
            "module.config.key",
            "string",
        ),
        (json!({"places": {"event": "/a"}}), "places", "leave this out"),
        (json!({"rename": {"a": "b.c"}}), "rename", "leave this out"),
    ] {
        let given = merged(pay(&more), &json!({"name": "other"}));
        let answer = world.client().post(SOURCES, &given).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, format!("webhook.{place}"), "{faults:?}");
        assert!(faults[0].1.contains(said), "{faults:?}");
        let document = json!({"sources": [given]});
        let answer = world.client().put("/api/v1/config", &document).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, format!("sources[0].webhook.{place}"));
    }
    let flow = json!({"name": "f", "modules": [{"name": "origin"}], "endpoints": []});
    let answer = world.client().post("/api/v1/flows", &flow).await.unwrap();
    assert!(problem(&answer, 422).iter().any(|fault| fault.0 == "modules[0].name"));
    // A version that the source could not use is not activated.
    let answer = upload(&world, "origin", "?activate=true", sender).await;
    assert_eq!(problem(&answer, 422)[0].0, "sources[pay].webhook.module.name");
    // The exported document is what stands.
    let document = world.get("/api/v1/config").await;
    let answer = world.client().put("/api/v1/config?dry_run=true", &document).await.unwrap();
    let changes = answer.data()["changes"].clone();
    let other = changes.as_array().unwrap().iter().find(|one| one["action"] != "unchanged");
    assert_eq!(other, None, "{changes:#}");
}

#[tokio::test]
async fn the_configuration_of_a_module_is_private() {
    let Some(mut world) = decoding(Sqlite, &json!({})).await else { return };
    let config = json!({"module": {"name": "origin", "config": {"key": "marked"}}});
    let given = merged(pay(&config), &json!({"name": "kept"}));
    world.post(SOURCES, &given).await;
    let exported = world.client().get("/api/v1/config").await.unwrap().text();
    assert!(!exported.contains("marked"), "{exported}");
    let file = std::fs::read(world.folder().join("waybill.db")).unwrap();
    let log = std::fs::read(world.folder().join("waybill.db-wal")).unwrap_or_default();
    for bytes in [file, log] {
        assert!(!bytes.windows(6).any(|part| part == b"marked"), "it is sealed at rest");
    }
    let masked = json!({"strict": false, "webhook": {"scheme": "perfexapi",
        "module": {"name": "origin", "config": {"key": "***"}}}});
    let changed = world.client().patch("/api/v1/sources/kept", &masked).await.unwrap();
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    world.restart();
    let body = json!({"harm": "trap"}).to_string();
    world.client_with(None).send(signed("/in/kept", &body)).await.unwrap();
    let status = world.get("/api/v1/sources/kept").await["status"].clone();
    assert!(text(&status, "last_error").contains("beside marked"), "{status:#}");
}

#[tokio::test]
async fn a_trial_shows_the_events_and_stores_nothing() {
    let Some(world) = decoding(Sqlite, &json!({})).await else { return };
    let body = json!({"events": [made("order.paid", "a"), made("order.sent", "b")]});
    let tried = world.post(&format!("{SOURCE}/test"), &json!({"body": body})).await;
    assert_eq!((&tried["type"], &tried["external_id"]), (&json!("order.paid"), &json!("a")));
    assert_eq!(tried["further"][0]["type"], "order.sent", "{tried:#}");
    let harm = json!({"body": {"harm": "trap"}});
    let answer = world.client().post(&format!("{SOURCE}/test"), &harm).await.unwrap();
    assert!(problem(&answer, 422)[0].1.contains("module_trap"), "{}", answer.text());
    assert_eq!(stored(&world).await, [""; 0]);
    assert_eq!(world.get(MODULE).await[0]["figures"], Value::Null, "a trial is not counted");
}

/// Senders send again what was not answered, as they do.
#[rstest]
#[tokio::test]
async fn a_killed_server_stores_all_events_of_a_request_or_none(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    const REQUESTS: usize = 40;
    let Some(mut world) = decoding(backend, &json!({})).await else { return };
    let body = |n: usize| {
        let events: Vec<Value> =
            (0..3).map(|part| made("order.paid", &format!("{n:03}-{part}"))).collect();
        json!({"events": events})
    };
    let client = world.client_with(None);
    let sending = join_all((0..REQUESTS).map(|n| {
        let (client, body) = (client.clone(), body(n));
        async move {
            client
                .send(signed("/in/pay", &body.to_string()))
                .await
                .is_ok_and(|answer| answer.status.is_success())
        }
    }));
    let sending = tokio::spawn(sending);
    let some = |found: &Value| !found.as_array().unwrap().is_empty();
    world.eventually(EVENTS, some).await;
    world.kill9();
    let answered = sending.await.unwrap();
    world.restart();
    let after = stored(&world).await;
    for (n, is_answered) in answered.iter().enumerate() {
        let own = after.iter().filter(|key| key.starts_with(&format!("{n:03}-"))).count();
        assert!(own == 3 || (own == 0 && !is_answered), "request {n} has {own} events");
    }
    for n in 0..REQUESTS {
        assert_eq!(send(&world, &body(n)).await.status, StatusCode::ACCEPTED);
    }
    let wanted: Vec<String> =
        (0..REQUESTS).flat_map(|n| (0..3).map(move |part| format!("{n:03}-{part}"))).collect();
    assert_eq!(stored(&world).await, wanted, "each once");
}

#[tokio::test]
async fn two_nodes_decode_and_tell_repeats() {
    let Some(component) = origin(&json!({})) else { return };
    let set = |settings: &mut Settings| {
        settings.environment("WAYBILL_SECRET_KEY", "one-key-of-all-nodes-0123456789");
    };
    let Some(world) = World::start_with(Postgres, set).await else { return };
    upload(&world, "origin", "?activate=true", component).await;
    world.post(SOURCES, &pay(&json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    let mut beside = world.settings().clone();
    beside
        .set("server.listen", "127.0.0.1:0")
        .set("server.data_dir", folder.path().to_str().unwrap());
    let second = Server::start(&beside).unwrap();
    let other = Client::new(second.address(), None);
    let body = |key: &str| json!({"events": [made("order.paid", key), made("order.paid", "same")]});
    assert_eq!(send(&world, &body("a")).await.status, StatusCode::ACCEPTED);
    assert_eq!(send_with(&other, &body("b")).await.status, StatusCode::ACCEPTED);
    assert_eq!(stored(&world).await, ["a", "b", "same"]);
    // A change of the source reaches the other node.
    let Some(next) = origin(&json!({"emit": ["order.*"]})) else { return };
    upload(&world, "origin", "?activate=true", next).await;
    let admin = Client::new(second.address(), Some(waybill_tests::server::ADMIN_TOKEN));
    loop {
        assert_eq!(send_with(&other, &body("c")).await.status, StatusCode::ACCEPTED);
        let shown = admin.get(MODULE).await.unwrap().data();
        if shown[1]["figures"]["outcomes"]["passed"].is_u64() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(&world).await, ["a", "b", "c", "same"]);
}

/// The example decodes several events of a request, and answers the challenge.
#[rstest]
#[tokio::test]
async fn the_stripe_like_example_decodes(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(component) = guest("stripe-like-source") else { return };
    let Some(world) = World::start(backend).await else { return };
    let manifest = json!({"name": "stripe-like-source"});
    upload(&world, "stripe-like-source", "?activate=true", with_manifest(component, &manifest))
        .await;
    let module =
        json!({"module": {"name": "stripe-like-source", "config": {"ignore": ["charge.pending"]}}});
    world.post(SOURCES, &pay(&module)).await;
    let asked = json!({"type": "endpoint.challenge", "challenge": "abc"});
    let answer = send(&world, &asked).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"challenge": "abc"})));
    let one = |id: &str, kind: &str| json!({"id": id, "type": kind, "created": "2026-05-03T12:00:00Z", "object": {"id": "ch_1", "amount": 1999}});
    let data =
        [one("n1", "charge.succeeded"), one("n2", "charge.pending"), one("n3", "refund.made")];
    let body = json!({"type": "events", "data": data});
    for _ in 0..2 {
        assert_eq!(send(&world, &body).await.status, StatusCode::ACCEPTED);
    }
    let found = world.get(EVENTS).await;
    let kinds: BTreeSet<String> =
        found.as_array().unwrap().iter().map(|event| text(event, "type")).collect();
    assert_eq!((found.as_array().unwrap().len(), kinds.len()), (2, 2), "{found:#}");
    assert!(kinds.contains("payments.charge.succeeded"), "{kinds:?}");
    problem(&send(&world, &json!({"type": "other"})).await, 422);
}
