//! Sources of kind `module`: a module asks a paged API, with requests that the host makes.

use std::collections::BTreeSet;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Receiver, Reply, Server, Settings, World};

use crate::module_sources::{origin, upload};
use crate::support::{first_run, merged, problem, with_manifest};

const SOURCES: &str = "/api/v1/sources";
const SOURCE: &str = "/api/v1/sources/shop";
const EVENTS: &str = "/api/v1/events?source=shop&limit=200";

fn host_of(receiver: &Receiver) -> String {
    format!("127.0.0.1:{}", receiver.port())
}

fn reply(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status, headers, body: Bytes::from(body.to_string()) }
}

/// Returns a page with an event for each of these keys.
fn page(keys: &[&str], more: &Value) -> Value {
    let event =
        |key: &&str| json!({"kind": "order.made", "key": key, "subject": key, "data": {"id": key}});
    let events: Vec<Value> = keys.iter().map(event).collect();
    merged(json!({"events": events}), more)
}

fn place(after: u64) -> String {
    format!("/page?after={after}")
}

/// Returns the source `shop`, which runs once an hour or on request.
fn shop(api: &Receiver, more: &Value) -> Value {
    let own = json!({"name": "origin", "every": "1h", "config": {"base": api.url("")}});
    json!({"name": "shop", "kind": "module", "module": merged(own, more)})
}

fn with_plain(api: &Receiver) -> impl FnOnce(&mut Settings) + use<> {
    let host = host_of(api);
    move |settings: &mut Settings| {
        settings.environment("WAYBILL_SECRET_KEY", "one-key-of-all-nodes-0123456789");
        settings.set("modules.plain_http", &format!("[\"{host}\"]"));
        settings.set("modules.policy", r#"{ secrets = "allow", emit = "allow", state = "allow" }"#);
    }
}

/// Starts a world with the module, which may ask the API and has these further capabilities.
async fn pulling(backend: Backend, capabilities: &Value) -> Option<(World, Receiver)> {
    let api = Receiver::start().await;
    let capabilities = merged(json!({"http": [host_of(&api)]}), capabilities);
    let component = origin(&capabilities)?;
    let world = World::start_with(backend, with_plain(&api)).await?;
    let made = upload(&world, "origin", "?activate=true&approve=http", component).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    Some((world, api))
}

/// Runs the source again, and returns its `run`.
async fn run_again(world: &World) -> Value {
    let before = world.get(SOURCE).await["run"]["finished_at"].clone();
    world.post(&format!("{SOURCE}/run"), &json!({})).await;
    let is_done = |found: &Value| {
        let run = &found["run"];
        run["finished_at"] != before && run["running"] == json!(false)
    };
    world.eventually(SOURCE, is_done).await["run"].clone()
}

async fn stored(world: &World) -> Vec<String> {
    let found = world.get(EVENTS).await;
    let mut keys: Vec<String> =
        found.as_array().unwrap().iter().map(|event| text(event, "external_id")).collect();
    keys.sort();
    keys
}

#[rstest]
#[tokio::test]
async fn every_page_becomes_events_and_the_next_round_goes_on(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, api)) = pulling(backend, &json!({})).await else { return };
    api.always(&place(0), reply(200, &page(&["a", "b"], &json!({"next": 2}))));
    api.always(&place(2), reply(200, &page(&["c"], &json!({"next": 3}))));
    api.script(&place(3), [reply(200, &page(&[], &json!({})))]);
    let run = first_run(&world, &shop(&api, &json!({}))).await;
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(3)), "{run:#}");
    assert_eq!(stored(&world).await, ["a", "b", "c"]);
    api.always(&place(3), reply(200, &page(&["c", "d"], &json!({}))));
    let run = run_again(&world).await;
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(1)), "{run:#}");
    assert_eq!(stored(&world).await, ["a", "b", "c", "d"], "the id tells a repeat");
    assert_eq!([api.count(&place(0)), api.count(&place(2)), api.count(&place(3))], [1, 1, 2]);
    let shown = world.get("/api/v1/modules/origin").await;
    assert_eq!(shown[0]["figures"]["outcomes"], json!({"passed": 6}), "{shown:#}");
}

#[tokio::test]
async fn a_round_has_so_many_pages_and_the_next_one_goes_on() {
    let Some((world, api)) = pulling(Sqlite, &json!({})).await else { return };
    for after in 0..5 {
        let key = format!("k{after}");
        api.always(&place(after), reply(200, &page(&[&key], &json!({"next": after + 1}))));
    }
    api.always(&place(5), reply(200, &page(&[], &json!({}))));
    let run = first_run(&world, &shop(&api, &json!({"max_pages": 3}))).await;
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(3)), "{run:#}");
    assert!(text_of(&run["warnings"][0]).contains("more than 3 requests"), "{run:#}");
    let run = run_again(&world).await;
    assert_eq!(run["warnings"], json!([]), "{run:#}");
    assert_eq!(stored(&world).await, ["k0", "k1", "k2", "k3", "k4"]);
    assert!((0..5).all(|after| api.count(&place(after)) == 1));
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_module_that_makes_no_progress_is_stopped() {
    let Some((world, api)) = pulling(Sqlite, &json!({})).await else { return };
    api.always(&place(0), reply(200, &page(&["a"], &json!({"same": true}))));
    let run = first_run(&world, &shop(&api, &json!({}))).await;
    assert!(text_of(&run["error"]).contains("makes no progress"), "{run:#}");
    assert!(text_of(&run["error"]).contains("GET "), "{run:#}");
    assert_eq!(api.count(&place(0)), 2, "the first answer brought an event, the second none");
    assert_eq!(stored(&world).await, ["a"]);
    let shown = world.get(SOURCE).await;
    assert!(text(&shown["status"], "last_error").contains("makes no progress"), "{shown:#}");
}

#[rstest]
#[tokio::test]
async fn a_module_that_fails_keeps_what_was_stored(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, api)) = pulling(backend, &json!({})).await else { return };
    api.always(&place(0), reply(200, &page(&["a"], &json!({"next": 1}))));
    let bad = json!([{"kind": "order.made", "key": "b"}, {"kind": "order"}]);
    api.script(
        &place(1),
        [
            reply(200, &page(&["b"], &json!({"harm": "trap"}))),
            reply(200, &page(&["b"], &json!({"harm": "loop"}))),
            reply(200, &json!({"events": bad})),
            reply(200, &page(&["b"], &json!({"next": 2, "memory": 70_000}))),
            reply(404, &json!({})),
            Reply::Vanish,
        ],
    );
    let mut run = first_run(&world, &shop(&api, &json!({}))).await;
    for said in [
        "module_trap",
        "module_timeout",
        "event 1: `order` is not an event type",
        "a memory of",
        "refused",
        "127.0.0.1",
    ] {
        assert!(text_of(&run["error"]).contains(said), "{said}: {run:#}");
        assert_eq!(stored(&world).await, ["a"], "{said}");
        run = run_again(&world).await;
    }
    let last = api.count(&place(1));
    api.always(&place(1), reply(200, &page(&["b"], &json!({}))));
    let run = run_again(&world).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
    assert_eq!(stored(&world).await, ["a", "b"]);
    assert_eq!((api.count(&place(0)), api.count(&place(1)) > last), (1, true));
}

#[tokio::test]
async fn a_pause_that_the_api_asks_for_is_waited_for() {
    let Some((world, api)) = pulling(Sqlite, &json!({})).await else { return };
    let good = reply(200, &page(&["a"], &json!({})));
    api.script(&place(0), [Reply::retry_after(429, 1), Reply::retry_after(503, 1), good]);
    let run = first_run(&world, &shop(&api, &json!({}))).await;
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(1)), "{run:#}");
    let arrivals = api.arrivals(&place(0));
    assert!(arrivals[1].at - arrivals[0].at >= std::time::Duration::from_secs(1));
}

#[rstest]
#[tokio::test]
async fn requests_go_only_where_the_module_may(#[values(Sqlite, Postgres)] backend: Backend) {
    let secrets = json!({"secrets": ["key"]});
    let Some((world, api)) = pulling(backend, &secrets).await else { return };
    let elsewhere = Receiver::start().await;
    let secret = json!({"name": "key", "secret": "marked-one", "hosts": [host_of(&api)],
        "header": "authorization", "prefix": "Bearer "});
    world.post("/api/v1/secrets", &secret).await;
    let to = |url: String, secrets: Value| reply(200, &json!({"url": url, "secrets": secrets}));
    let echo = reply(200, &page(&["a"], &json!({})));
    api.always("/own", echo);
    api.script(
        &place(0),
        [
            to(elsewhere.url("/other"), json!([])),
            to(api.url("/own"), json!(["other"])),
            to("https://[::1]:1/".to_owned(), json!([])),
            to(api.url("/own"), json!(["key"])),
        ],
    );
    let mut run = first_run(&world, &shop(&api, &json!({}))).await;
    for said in ["denied", "secret", "denied"] {
        assert!(text_of(&run["error"]).contains(said), "{said}: {run:#}");
        run = run_again(&world).await;
    }
    assert_eq!(run["error"], Value::Null, "{run:#}");
    assert_eq!(api.first("/own").await.header("authorization"), "Bearer marked-one");
    assert_eq!((api.count("/own"), elsewhere.count("/other")), (1, 0));
    let shown = world.client().get(SOURCE).await.unwrap().text();
    assert!(!shown.contains("marked"), "{shown}");
}

#[tokio::test]
async fn what_a_puller_has_no_use_for_is_denied() {
    let all = json!({"state": {}, "records": {}, "deliveries": true, "counters": ["tries"],
        "secrets": ["other"], "emit": ["origin.*"]});
    let Some((world, api)) = pulling(Sqlite, &json!({})).await else { return };
    let Some(component) = origin(&merged(json!({"http": [host_of(&api)]}), &all)) else { return };
    let query = "?activate=true&approve=http,records,deliveries";
    let made = upload(&world, "origin", query, component).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    api.always(&place(0), reply(200, &json!({"escape": true})));
    let run = first_run(&world, &shop(&api, &json!({}))).await;
    assert_eq!(run["error"], Value::Null, "{run:#}");
    let found = world.get(EVENTS).await;
    let event = world.get(&format!("/api/v1/events/{}", text(&found[0], "id"))).await;
    assert_eq!(event["data"], json!(["denied", "denied", "denied", "denied", "denied", "denied"]));
}

/// The answer to the third page is on its way when the server dies.
#[rstest]
#[tokio::test]
async fn a_kill_between_pages_loses_and_doubles_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((mut world, api)) = pulling(backend, &json!({})).await else { return };
    api.always(&place(0), reply(200, &page(&["a", "b"], &json!({"next": 1}))));
    api.always(&place(1), reply(200, &page(&["c"], &json!({"next": 2}))));
    let third = page(&["d", "e"], &json!({"next": 3}));
    api.script(&place(2), [Reply::Hang]);
    api.always(&place(3), reply(200, &page(&["f"], &json!({}))));
    world.post(SOURCES, &shop(&api, &json!({}))).await;
    api.first(&place(2)).await;
    world.kill9();
    api.always(&place(2), reply(200, &third));
    world.restart();
    world.eventually(EVENTS, |found| found.as_array().unwrap().len() >= 6).await;
    assert_eq!(stored(&world).await, ["a", "b", "c", "d", "e", "f"]);
    let counts = [0, 1, 2, 3].map(|after| api.count(&place(after)));
    assert_eq!(counts, [1, 1, 2, 1], "stored pages are not asked for again");
}

#[tokio::test]
async fn one_of_two_nodes_asks() {
    let Some((world, api)) = pulling(Postgres, &json!({})).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut beside = world.settings().clone();
    beside
        .set("server.listen", "127.0.0.1:0")
        .set("server.data_dir", folder.path().to_str().unwrap());
    let _second = Server::start(&beside).unwrap();
    for after in 0..20 {
        let key = format!("k{after:02}");
        api.always(&place(after), reply(200, &page(&[&key], &json!({"next": after + 1}))));
    }
    api.always(&place(20), reply(200, &page(&[], &json!({}))));
    world.post(SOURCES, &shop(&api, &json!({"every": "1s"}))).await;
    api.wait_for(&place(20), 4).await;
    let keys: BTreeSet<String> = stored(&world).await.into_iter().collect();
    assert_eq!(keys.len(), 20);
    assert!((0..20).all(|after| api.count(&place(after)) == 1), "no page is asked for twice");
}

#[tokio::test]
async fn a_source_names_a_puller_that_fits() {
    let Some((world, api)) = pulling(Sqlite, &json!({})).await else { return };
    let Some(sender) = guest("sender") else { return };
    upload(&world, "sender", "?activate=true", sender.clone()).await;
    for (more, place, said) in [
        (json!({"name": "nobody"}), "name", "no module `nobody`"),
        (json!({"name": "sender"}), "name", "role `puller`"),
        (json!({"version": 9}), "version", "no version 9"),
        (json!({"config": {"base": 1}}), "config.base", "string"),
        (json!({"max_pages": 0}), "max_pages", "from 1 to 1000"),
        (json!({"max_answer_kib": 5000}), "max_answer_kib", "from 1 to 4096"),
        (json!({"cron": "* * * * *"}), "cron", "not both"),
    ] {
        let answer = world.client().post(SOURCES, &shop(&api, &more)).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, format!("module.{place}"), "{faults:?}");
        assert!(faults[0].1.contains(said), "{faults:?}");
    }
    world.post(SOURCES, &merged(shop(&api, &json!({})), &json!({"enabled": false}))).await;
    let answer = upload(&world, "origin", "?activate=true", sender).await;
    assert_eq!(problem(&answer, 422)[0].0, "sources[shop].module.name");
    assert_eq!(api.count(&place(0)), 0);
}

#[tokio::test]
async fn a_trial_asks_and_stores_nothing() {
    let Some((world, api)) = pulling(Sqlite, &json!({})).await else { return };
    api.always(&place(0), reply(200, &page(&[], &json!({"next": 1}))));
    api.always(&place(1), reply(200, &page(&["a"], &json!({"next": 2}))));
    world.post(SOURCES, &merged(shop(&api, &json!({})), &json!({"enabled": false}))).await;
    let test = Call::new(Method::POST, &format!("{SOURCE}/test"));
    let tried = world.client().send(test).await.unwrap();
    assert_eq!(tried.status, StatusCode::OK, "{}", tried.text());
    assert_eq!(tried.data()["external_id"], "a", "{}", tried.text());
    assert_eq!((api.count(&place(2)), stored(&world).await), (0, vec![]));
    api.always(&place(0), Reply::Status(503));
    let tried = world.client().post(&format!("{SOURCE}/test"), &json!({})).await.unwrap();
    problem(&tried, 502);
}

/// The example reads every page, and goes on with what changed since.
#[rstest]
#[tokio::test]
async fn the_paged_orders_example_pulls(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(component) = guest("paged-orders") else { return };
    let api = Receiver::start().await;
    let Some(world) = World::start_with(backend, with_plain(&api)).await else { return };
    let capabilities = json!({"http": [host_of(&api)], "secrets": ["shop"]});
    let manifest = json!({"name": "paged-orders", "capabilities": capabilities});
    let component = with_manifest(component, &manifest);
    upload(&world, "paged-orders", "?activate=true&approve=http", component).await;
    let secret = json!({"name": "shop", "secret": "marked", "hosts": [host_of(&api)],
        "header": "authorization", "prefix": "Bearer "});
    world.post("/api/v1/secrets", &secret).await;
    let order = |id: &str, hour: u32, version: u32| json!({"id": id, "updated_at": format!("2026-05-03T{hour}:00:00Z"), "version": version});
    let first = "/api/orders?updated_since=1970-01-01T00:00:00Z&limit=100";
    let second = format!("{first}&cursor=c2");
    let later = "/api/orders?updated_since=2026-05-03T12:00:00Z&limit=100";
    api.always(
        first,
        reply(200, &json!({"orders": [order("1", 10, 1), order("2", 11, 1)], "next_cursor": "c2"})),
    );
    api.always(&second, reply(200, &json!({"orders": [order("3", 12, 1)], "next_cursor": null})));
    api.always(
        later,
        reply(200, &json!({"orders": [order("3", 12, 1), order("1", 13, 2)], "next_cursor": null})),
    );
    let module = json!({"name": "paged-orders", "every": "1h", "config": {"api": api.url("/api")}});
    let source = json!({"name": "shop", "kind": "module", "module": module});
    let run = first_run(&world, &source).await;
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(3)), "{run:#}");
    assert_eq!(api.first(first).await.header("authorization"), "Bearer marked");
    let run = run_again(&world).await;
    assert_eq!((&run["error"], &run["events"]), (&Value::Null, &json!(1)), "{run:#}");
    let found = world.get(EVENTS).await;
    let kinds: Vec<String> =
        found.as_array().unwrap().iter().map(|event| text(event, "type")).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "order.updated").count(), 1, "{kinds:?}");
}
