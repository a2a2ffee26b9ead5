//! Manifests of modules: their contents, grants, secrets and requests.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, guest, text};
use waybill_tests::{Answer, Receiver, Reply, Settings, World};

use crate::support::{endpoint_with, hex_mac, problem, with_manifest};

const FLOWS: &str = "/api/v1/flows";
const SECRETS: &str = "/api/v1/secrets";

async fn send_upload(world: &World, query: &str, component: Vec<u8>) -> Answer {
    let path = format!("/api/v1/modules/sender{query}");
    world.client().send(Call::post(&path, "application/wasm", component)).await.unwrap()
}

/// Returns the guest `sender` with this manifest.
fn sender(manifest: &Value) -> Option<Vec<u8>> {
    Some(with_manifest(guest("sender")?, manifest))
}

/// Returns a manifest that requests these capabilities.
fn asking(capabilities: &Value) -> Value {
    json!({"name": "sender", "version": "1.0.0", "capabilities": capabilities})
}

/// Starts a world whose modules may send plain requests to this receiver.
async fn world_beside(backend: Backend, receiver: &Receiver) -> Option<World> {
    let host = format!("127.0.0.1:{}", receiver.port());
    let set = |settings: &mut Settings| {
        settings.set("modules.plain_http", &format!("[\"{host}\"]"));
        settings.set("delivery.retry_schedule", r#"["50ms", "50ms"]"#);
    };
    World::start_with(backend, set).await
}

/// Creates a flow `sender` for `sender.*` to the path `/sink`.
async fn add_flow(world: &World, receiver: &Receiver) {
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&sink).await;
    let modules = json!([{"name": "sender"}]);
    let flow = json!({"name": "sender", "events": ["sender.*"], "modules": modules, "endpoints": ["sink"]});
    world.post(FLOWS, &flow).await;
}

fn order(data: &Value) -> Value {
    json!({"type": "sender.order", "data": data})
}

fn replying(body: &str) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status: 200, headers, body: body.to_owned().into() }
}

#[tokio::test]
async fn a_manifest_is_shown_and_checks_the_configuration() {
    let schema = json!({"type": "object", "properties": {
        "threshold": {"type": "number", "minimum": 0, "default": 1000}}});
    let manifest =
        json!({"name": "sender", "version": "1.2.0", "roles": ["transform"], "config": schema});
    let Some(component) = sender(&manifest) else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let answer = send_upload(&world, "?activate=true", component).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let shown = world.get("/api/v1/modules/sender/versions/1").await;
    assert_eq!(shown["report"]["manifest"]["version"], "1.2.0", "{shown:#}");
    add_flow(&world, &receiver).await;
    world.event(&order(&json!({}))).await;
    let payload = receiver.first("/sink").await.json()["payload"].clone();
    assert_eq!(payload["config"], "1000", "the default of the schema");
    for (config, place, word) in [
        (json!({"treshold": 5}), "modules[0].config.treshold", "`threshold`"),
        (json!({"threshold": "s3cret"}), "modules[0].config.threshold", "number"),
        (json!({"threshold": -1}), "modules[0].config.threshold", "minimum"),
    ] {
        let patch = json!({"modules": [{"name": "sender", "config": config}]});
        let answer = world.client().patch(&format!("{FLOWS}/sender"), &patch).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, place, "{faults:?}");
        assert!(faults[0].1.contains(word), "{faults:?}");
        assert!(!answer.text().contains("s3cret"), "no message quotes a value");
        let document = json!({"flows": [{"name": "other", "modules": [{"name": "sender", "config": config}],
            "endpoints": ["sink"]}]});
        let answer = world.client().put("/api/v1/config", &document).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, format!("flows[0].{place}"));
    }
}

#[tokio::test]
async fn a_version_whose_schema_a_flow_does_not_fit_is_not_activated() {
    let open = json!({"name": "sender"});
    let strict = json!({"name": "sender", "config": {"required": ["destination"],
        "properties": {"destination": {"type": "string"}}}});
    let (Some(first), Some(second)) = (sender(&open), sender(&strict)) else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    send_upload(&world, "?activate=true", first).await;
    add_flow(&world, &receiver).await;
    send_upload(&world, "", second).await;
    let activate = "/api/v1/modules/sender/versions/2/activate";
    let answer = world.client().post(activate, &json!({})).await.unwrap();
    let faults = problem(&answer, 422);
    assert!(
        faults[0].0.contains("flows[sender]") && faults[0].1.contains("destination"),
        "{faults:?}"
    );
    let config =
        json!({"modules": [{"name": "sender", "version": 2, "config": {"destination": "x"}}]});
    let answer = world.client().patch(&format!("{FLOWS}/sender"), &config).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.post(activate, &json!({})).await;
}

#[tokio::test]
async fn a_manifest_that_asks_for_too_much_says_which_setting_to_raise() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (manifest, words) in [
        (
            json!({"name": "sender", "limits": {"memory_mib": 128}}),
            ["modules.max_memory", "67108864"],
        ),
        (json!({"name": "sender", "limits": {"time_ms": 500}}), ["modules.max_time", "100"]),
        (json!({"name": "sender", "roles": ["route"]}), ["roles", "transform"]),
        (
            json!({"name": "sender", "capabilities": {"http": ["*.example"]}}),
            ["capabilities.http", "wildcard"],
        ),
        (json!({"name": "sender", "config": {"$ref": "#"}}), ["config", "$ref"]),
    ] {
        let Some(component) = sender(&manifest) else { return };
        let answer = send_upload(&world, "", component).await;
        problem(&answer, 422);
        assert!(words.iter().all(|word| answer.text().contains(word)), "{}", answer.text());
    }
    let answer = send_upload(&world, "", vec![0; (4 << 20) + 1]).await;
    problem(&answer, 413);
    let said = answer.text();
    assert!(said.contains("modules.max_component") && said.contains("25165824"), "{said}");
}

#[tokio::test]
async fn a_version_that_asks_for_more_waits_for_approval() {
    let first = asking(&json!({"http": ["a.example"]}));
    let second = asking(&json!({"http": ["a.example", "b.example"], "secrets": ["key"]}));
    let (Some(first), Some(second)) = (sender(&first), sender(&second)) else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let refused = send_upload(&world, "?activate=true", first.clone()).await;
    let missing = problem(&refused, 409);
    assert_eq!(missing, [("approve".to_owned(), "http:a.example".to_owned())]);
    assert_eq!(world.get("/api/v1/modules").await, json!([]), "nothing was stored");
    send_upload(&world, "", first).await;
    let activate = |version: u32| format!("/api/v1/modules/sender/versions/{version}/activate");
    let made = world.post(&activate(1), &json!({"approve": ["http:a.example"]})).await;
    assert_eq!([&made["granted"], &made["active"]], [&json!(["http:a.example"]), &json!(true)]);
    let uploaded = send_upload(&world, "", second).await.data();
    assert_eq!(uploaded["pending"], json!(["http:a.example", "http:b.example", "secrets:key"]));
    let answer = world.client().post(&activate(2), &json!({})).await.unwrap();
    let missing: Vec<String> = problem(&answer, 409).into_iter().map(|(_, word)| word).collect();
    assert_eq!(missing, ["http:b.example", "secrets:key"], "what the active one has holds on");
    let wrong = json!({"approve": ["http:c.example"]});
    problem(&world.client().post(&activate(2), &wrong).await.unwrap(), 422);
    let made = world.post(&activate(2), &json!({"approve": ["http", "secrets:key"]})).await;
    assert_eq!(made["granted"], json!(["http:a.example", "http:b.example", "secrets:key"]));
    // Back to the older version, which keeps its approvals.
    let back = world.post(&activate(1), &json!({})).await;
    assert_eq!(back["granted"], json!(["http:a.example"]));
}

#[tokio::test]
async fn what_was_not_granted_answers_denied() {
    let (Some(none), Some(plain)) = (sender(&asking(&json!({}))), guest("sender")) else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    for (n, component) in [none, plain].into_iter().enumerate() {
        send_upload(&world, "?activate=true", component).await;
        if n == 0 {
            add_flow(&world, &receiver).await;
        }
        world.event(&order(&json!({"escape": true}))).await;
        let arrivals = receiver.wait_for("/sink", n + 1).await;
        let escape = arrivals[n].json()["payload"]["escape"].clone();
        let calls = escape.as_object().unwrap();
        assert_eq!(calls.len(), 10, "{escape:#}");
        assert!(calls.values().all(|told| told["code"] == "denied"), "{escape:#}");
    }
}

#[tokio::test]
async fn a_policy_that_denies_overrules_an_approval() {
    let Some(component) = sender(&asking(&json!({"secrets": ["key"]}))) else { return };
    let deny = |settings: &mut Settings| {
        settings.set("modules.policy", r#"{ secrets = "deny" }"#);
    };
    let Some(world) = World::start_with(Sqlite, deny).await else { return };
    let receiver = Receiver::start().await;
    let made = send_upload(&world, "?activate=true&approve=secrets", component).await.data();
    assert_eq!([&made["granted"], &made["denied"]], [&json!([]), &json!(["secrets:key"])]);
    world.post(SECRETS, &json!({"name": "key", "secret": "s3cret"})).await;
    add_flow(&world, &receiver).await;
    world.event(&order(&json!({"hmac": {"secret": "key", "message": "x"}}))).await;
    let payload = receiver.first("/sink").await.json()["payload"].clone();
    assert_eq!(payload["hmac"], json!({"code": "denied"}));
}

#[rstest]
#[tokio::test]
async fn a_secret_is_used_and_never_shown(#[values(Sqlite, Postgres)] backend: Backend) {
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port());
    let manifest = asking(&json!({"http": [host], "secrets": ["key", "query", "sign"]}));
    let Some(component) = sender(&manifest) else { return };
    let Some(world) = world_beside(backend, &receiver).await else { return };
    send_upload(&world, "?activate=true&approve=http,secrets", component).await;
    add_flow(&world, &receiver).await;
    for secret in [
        json!({"name": "key", "secret": "marked-one", "hosts": [host], "header": "authorization", "prefix": "Bearer "}),
        json!({"name": "query", "secret": "marked-two", "hosts": [host], "query": "token"}),
        json!({"name": "sign", "secret": "marked-three"}),
    ] {
        let made = world.client().post(SECRETS, &secret).await.unwrap();
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        assert!(!made.text().contains("marked"), "{}", made.text());
    }
    let url = receiver.url("/remote?a=1");
    let sent = json!({"send": [
        {"method": "POST", "url": url, "secrets": ["key", "query"], "body": {"n": 1}},
        {"url": url, "secrets": ["sign"]},
        {"url": url, "headers": [["authorization", "mine"]], "secrets": ["key"]},
    ], "hmac": {"secret": "sign", "message": "x"}});
    let id = world.event(&order(&sent)).await;
    let payload = receiver.first("/sink").await.json()["payload"].clone();
    let answers = &payload["answers"];
    assert_eq!(
        [&answers[0]["status"], &answers[1]["code"]],
        [&json!(200), &json!("denied")],
        "{payload:#}"
    );
    assert_eq!(answers[2]["code"], "invalid", "a header that a secret fills in is the host's");
    let arrived = receiver.first("/remote?a=1&token=marked-two").await;
    assert_eq!(arrived.header("authorization"), "Bearer marked-one");
    assert_eq!(arrived.json(), json!({"n": 1}));
    let hmac = hex_mac("marked-three", b"x");
    assert_eq!(payload["hmac"], json!({"value": hmac}));
    let export = world.client().get("/api/v1/config").await.unwrap().text();
    let trace = world.client().get(&format!("/api/v1/events/{id}")).await.unwrap().text();
    let list = world.client().get(SECRETS).await.unwrap().text();
    for shown in [export, trace, list] {
        assert!(!shown.contains("marked"), "{shown}");
    }
    // It may not be sent to further hosts without being given again.
    let further = json!({"hosts": [host, "evil.example"]});
    let answer = world.client().patch(&format!("{SECRETS}/key"), &further).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "secret");
}

#[tokio::test]
async fn a_rotated_secret_verifies_for_a_while() {
    let Some(component) = sender(&asking(&json!({"secrets": ["sign"]}))) else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    send_upload(&world, "?activate=true&approve=secrets", component).await;
    add_flow(&world, &receiver).await;
    world.post(SECRETS, &json!({"name": "sign", "secret": "old"})).await;
    let rotated = world
        .post(&format!("{SECRETS}/sign/rotate"), &json!({"secret": "new", "grace": "1h"}))
        .await;
    assert!(rotated["grace_until"].is_string(), "{rotated:#}");
    let mut came = 0;
    let mut verify = async |key: &str| {
        let hmac = hex_mac(key, b"x");
        let asked = json!({"verify": {"secret": "sign", "message": "x", "hmac": hmac}});
        world.event(&order(&asked)).await;
        came += 1;
        receiver.wait_for("/sink", came).await[came - 1].json()["payload"]["verified"].clone()
    };
    assert_eq!(verify("old").await, json!({"value": true}));
    assert_eq!(verify("new").await, json!({"value": true}));
    assert_eq!(verify("other").await, json!({"value": false}));
    world.post(&format!("{SECRETS}/sign/rotate"), &json!({"secret": "newer", "grace": "0s"})).await;
    assert_eq!(verify("new").await, json!({"value": false}));
}

#[rstest]
#[tokio::test]
async fn a_recorded_answer_is_read_again(#[values(Sqlite, Postgres)] backend: Backend) {
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port());
    let Some(component) = sender(&asking(&json!({"http": [host]}))) else { return };
    let Some(mut world) = world_beside(backend, &receiver).await else { return };
    send_upload(&world, "?activate=true&approve=http", component).await;
    add_flow(&world, &receiver).await;
    receiver.always("/remote", replying(r#"{"answer":"old"}"#));
    let sent = json!({"send": [{"url": receiver.url("/remote")}]});
    let id = world.event(&order(&sent)).await;
    let first = receiver.first("/sink").await.json()["payload"].clone();
    assert_eq!(first["answers"], json!([{"status": 200, "body": r#"{"answer":"old"}"#}]));
    receiver.always("/remote", replying(r#"{"answer":"new"}"#));
    // A delivery that is not recorded yet would be sent again.
    let is_one = |found: &Value| found.as_array().unwrap().len() == 1;
    world.eventually("/api/v1/deliveries?status=delivered", is_one).await;
    world.kill9();
    world.restart();
    world.post(&format!("/api/v1/events/{id}/replay"), &json!({})).await;
    let again = receiver.wait_for("/sink", 2).await[1].json()["payload"].clone();
    assert_eq!(again, first, "the replay reads the recording");
    let dry = world.post(&format!("{FLOWS}/sender/run"), &json!({"event_id": id})).await;
    assert_eq!(dry["dispatches"][0]["body"]["payload"], first, "{dry:#}");
    let given = world.post(&format!("{FLOWS}/sender/run"), &json!({"event": order(&sent)})).await;
    let answers = &given["dispatches"][0]["body"]["payload"]["answers"];
    assert_eq!(answers, &json!([{"code": "not_recorded"}]), "{given:#}");
    assert_eq!(receiver.count("/remote"), 1, "one request was made in all");
    world.event(&order(&sent)).await;
    let other = receiver.wait_for("/sink", 3).await[2].json()["payload"].clone();
    assert_eq!(other["answers"][0]["body"], r#"{"answer":"new"}"#, "another event has its own");
}

#[tokio::test]
async fn a_retry_reads_what_the_failed_run_was_answered() {
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port());
    let Some(component) = sender(&asking(&json!({"http": [host]}))) else { return };
    let Some(world) = world_beside(Sqlite, &receiver).await else { return };
    send_upload(&world, "?activate=true&approve=http", component).await;
    add_flow(&world, &receiver).await;
    world.event(&order(&json!({"send": [{"url": receiver.url("/remote")}], "fail": true}))).await;
    let dead = world
        .eventually("/api/v1/dead-letters", |found| {
            found.as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    assert_eq!(dead[0]["reason"], "module_failure");
    assert_eq!(receiver.count("/remote"), 1, "three runs, one request");
}

#[tokio::test]
async fn requests_go_where_they_may_and_no_further() {
    let receiver = Receiver::start().await;
    let other = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port());
    let Some(component) = sender(&asking(&json!({"http": [host, "tls.example"]}))) else { return };
    let Some(world) = world_beside(Sqlite, &receiver).await else { return };
    send_upload(&world, "?activate=true&approve=http", component).await;
    add_flow(&world, &receiver).await;
    receiver.always("/redirect", Reply::redirect(302, &other.url("/stolen")));
    receiver.always("/large", Reply::Endless);
    let sent = json!({"send": [
        {"url": receiver.url("/redirect")},
        {"url": other.url("/stolen")},
        {"url": "http://tls.example/"},
        {"url": receiver.url("/large")},
        {"url": receiver.url("/x"), "headers": [["host", "evil.example"]]},
        {"url": receiver.url("/5")}, {"url": receiver.url("/6")}, {"url": receiver.url("/7")},
        {"url": receiver.url("/8")}, {"url": receiver.url("/9")}, {"url": receiver.url("/10")},
        {"url": receiver.url("/11")},
    ]});
    world.event(&order(&sent)).await;
    let payload = receiver.first("/sink").await.json()["payload"].clone();
    let answers = payload["answers"].as_array().unwrap();
    assert_eq!(answers[0]["status"], 302, "a redirect is an answer: {payload:#}");
    let codes: Vec<&str> =
        answers[1..5].iter().filter_map(|answer| answer["code"].as_str()).collect();
    assert_eq!(codes, ["denied", "denied", "limit", "invalid"], "{payload:#}");
    assert_eq!(answers[11]["code"], "limit", "the ninth request that is made: {payload:#}");
    assert_eq!(other.count("/stolen"), 0);
}

#[tokio::test]
async fn recordings_go_with_the_record_that_is_erased() {
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port());
    let Some(component) = sender(&asking(&json!({"http": [host]}))) else { return };
    let Some(world) = world_beside(Sqlite, &receiver).await else { return };
    send_upload(&world, "?activate=true&approve=http", component).await;
    add_flow(&world, &receiver).await;
    receiver.always("/remote", replying(r#"{"name":"Marked Person"}"#));
    let data = json!({"id": "7", "send": [{"url": receiver.url("/remote")}]});
    let event = json!({"type": "sender.order", "resource_id": "7", "data": data});
    world.event(&event).await;
    let delivered = receiver.first("/sink").await;
    assert!(delivered.json().to_string().contains("Marked Person"));
    world
        .eventually("/api/v1/deliveries?status=delivered", |found| {
            found.as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    let database = rusqlite::Connection::open(world.folder().join("waybill.db")).unwrap();
    let count = || -> i64 {
        database.query_row("SELECT COUNT(*) FROM module_answer", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 1);
    let erase = Call::new(Method::DELETE, "/api/v1/records/sender/7?everywhere=true");
    let answer = world.client().send(erase).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(count(), 0);
}

fn waybill(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(binary())
        .args(arguments)
        .env("WAYBILL_URL", world.server().address())
        .env("WAYBILL_TOKEN", ADMIN_TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn the_command_line_embeds_inspects_approves_and_sets_secrets() {
    let Some(component) = guest("sender") else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (wasm, manifest) = (folder.path().join("sender.wasm"), folder.path().join("m.toml"));
    std::fs::write(&wasm, component).unwrap();
    std::fs::write(&manifest, "name = \"sender\"\n[capabilities]\nsecrets = [\"key\"]\n").unwrap();
    let (file, toml) = (wasm.to_str().unwrap(), manifest.to_str().unwrap());
    let run = |arguments: &[&str], input: &str| {
        let output = waybill(&world, arguments, input);
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (done, said) = run(&["module", "embed", file, "--manifest", toml], "");
    assert!(done, "{said}");
    let (done, said) = run(&["module", "inspect", file, "--json"], "");
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert!(done && shown["manifest"]["capabilities"]["secrets"] == json!(["key"]), "{said}");
    let (done, said) = run(&["module", "push", file, "--name", "sender"], "");
    assert!(done, "{said}");
    let (done, said) = run(&["module", "activate", "sender", "1"], "");
    assert!(!done && said.contains("secrets:key") && said.contains("--approve"), "{said}");
    let (done, said) = run(&["module", "activate", "sender", "1", "--approve", "secrets:key"], "");
    assert!(done, "{said}");
    let (done, said) = run(&["module", "inspect", "sender", "--json"], "");
    assert!(done && said.contains("secrets:key"), "{said}");
    let arguments =
        ["module", "secret", "set", "key", "--host", "a.example", "--header", "authorization"];
    for _ in 0..2 {
        let (done, said) = run(&arguments, "s3cret-value\n");
        assert!(done && !said.contains("s3cret-value"), "{said}");
    }
    let (done, said) = run(&["module", "secret", "list", "--json"], "");
    assert!(done && said.contains("a.example") && !said.contains("s3cret"), "{said}");
    let id = text(&world.get(SECRETS).await[0], "id");
    assert!(id.starts_with("sec_"), "{id}");
}
