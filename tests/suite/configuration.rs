//! Configuration as one document: applied whole or not at all, and carried to an empty server.

use crate::support::{assert_problem, endpoint_with, hex_signature, invoice, merged, problem};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, guest, text};
use waybill_tests::{Answer, Receiver, World};

const CONFIG: &str = "/api/v1/config";
const PASSPHRASE: &str = "correct horse battery staple";

async fn upload(world: &World, path: &str, component: Vec<u8>) -> Answer {
    let path = format!("/api/v1/modules/{path}");
    world.client().send(Call::post(&path, "application/wasm", component)).await.unwrap()
}

fn flow(modules: &Value) -> Value {
    json!({"name": "f", "events": ["lead.*"], "modules": modules, "endpoints": ["a"]})
}

#[tokio::test]
async fn a_document_with_a_fault_changes_nothing() {
    let (Some(first), Some(second)) = (guest("hot-leads"), guest("lead-to-slack")) else { return };
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        upload(&world, "m?activate=true", first.clone()).await;
        upload(&world, "m", second.clone()).await;
        let good = json!({"name": "a", "url": "https://erp.example/a"});
        let document = json!({
            "modules": [{"name": "m", "version": 2}],
            "endpoints": [good, {"name": "b", "url": "ftp://erp.example/b"}],
        });
        let answer = world.client().put(CONFIG, &document).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, "endpoints[1].url", "{faults:?}");
        // A document that only the database refuses is not applied either.
        let taken = json!({
            "modules": [{"name": "m", "version": 2}],
            "endpoints": [good, {"name": "c", "url": "https://erp.example/c"}, good],
        });
        let answer = world.client().put(CONFIG, &taken).await.unwrap();
        assert!(answer.status.is_client_error(), "{}", answer.text());
        let active: Vec<Value> = world.get("/api/v1/modules/m").await.as_array().unwrap().clone();
        let active: Vec<&Value> = active.iter().filter(|v| v["active"] == true).collect();
        assert_eq!(active[0]["version"], 1, "{active:?}");
        assert_eq!(world.get("/api/v1/endpoints").await, json!([]));
    }
}

#[tokio::test]
async fn a_module_that_cannot_run_is_refused() {
    let Some(component) = guest("hot-leads") else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&json!({"name": "a", "url": "https://erp.example/a"})).await;
    upload(&world, "m", component).await;
    for (modules, place, why) in [
        (json!([{"name": "m"}]), "modules[0].name", "active"),
        (json!([{"name": "m", "version": 9}]), "modules[0].version", "no version 9"),
        (json!([{"name": "none"}]), "modules[0].name", "no module"),
    ] {
        let faults =
            problem(&world.client().post("/api/v1/flows", &flow(&modules)).await.unwrap(), 422);
        assert!(faults[0].0 == place && faults[0].1.contains(why), "{faults:?}");
        let document = json!({"flows": [flow(&modules)]});
        let faults = problem(&world.client().put(CONFIG, &document).await.unwrap(), 422);
        let place = format!("flows[0].{place}");
        assert!(faults[0].0 == place && faults[0].1.contains(why), "{faults:?}");
    }
    // The same document may activate it.
    let document = json!({"modules": [{"name": "m"}], "flows": [flow(&json!([{"name": "m"}]))]});
    let answer = world.client().put(CONFIG, &document).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let pinned = json!({"modules": [{"name": "m", "version": 1}]});
    let answer = world.client().patch("/api/v1/flows/f", &pinned).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn a_version_with_fewer_roles_warns() {
    let (Some(first), Some(second)) = (guest("hot-leads"), guest("lead-to-slack")) else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let made = upload(&world, "m?activate=true", first.clone()).await.data();
    assert!(made["warning"].is_null(), "{made:#}");
    upload(&world, "m", second.clone()).await;
    let document = json!({"modules": [{"name": "m", "version": 2}]});
    let path = format!("{CONFIG}?dry_run=true");
    let change = world.client().put(&path, &document).await.unwrap().data()["changes"][0].clone();
    assert!(text(&change, "warning").contains("`filter`"), "{change:#}");
    let path = "/api/v1/modules/m/versions/2/activate";
    let active = world.post(path, &json!({})).await;
    assert!(text(&active, "warning").contains("`filter`"), "{active:#}");
    let back = world.post("/api/v1/modules/m/versions/1/activate", &json!({})).await;
    assert!(!back.to_string().contains("`filter`"), "{back:#}");
    let made = upload(&world, "m?activate=true", second).await.data();
    assert!(text(&made, "warning").contains("`filter`"), "{made:#}");
}

/// Runs the command line against a server.
fn waybill(world: &World, folder: &Path, arguments: &[&str], passphrase: &str) -> Output {
    Command::new(binary())
        .args(arguments)
        .args(["--server", world.server().address()])
        .env("WAYBILL_TOKEN", ADMIN_TOKEN)
        .env("WAYBILL_PASSPHRASE", passphrase)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[tokio::test]
async fn an_export_with_secrets_makes_an_empty_server_the_same() {
    let (Some(first), Some(second)) = (guest("hot-leads"), guest("lead-to-slack")) else { return };
    let Some(old) = World::start(Sqlite).await else { return };
    let Some(new) = World::start(Postgres).await else { return };
    let receiver = Receiver::start().await;
    let more =
        json!({"headers": {"authorization": "Bearer abcdefgh"}, "events": ["invoice.*", "lead.*"]});
    let url = receiver.url("/a?key=0123456789");
    let made = old.endpoint(&endpoint_with("a", &url, &more)).await;
    let secret = text(&made, "secret");
    upload(&old, "m", first).await;
    upload(&old, "m?activate=true", second).await;
    let pinned = json!([{"name": "m", "version": 1, "config": {"key": "c0nfig"}}, {"name": "m"}]);
    old.post("/api/v1/flows", &flow(&pinned)).await;
    let shop = json!({"name": "shop", "kind": "webhook", "webhook": {"scheme": "github"}});
    old.post("/api/v1/sources", &shop).await;
    let token =
        old.post("/api/v1/tokens", &json!({"name": "n8n", "scopes": ["events:write"]})).await;

    let folder = tempfile::TempDir::new().unwrap();
    let arguments = ["export", "--secrets", "--modules", "backup/modules", "--format", "json"];
    let exported = waybill(&old, folder.path(), &arguments, PASSPHRASE);
    assert!(exported.status.success(), "{}", said(&exported));
    let document = String::from_utf8(exported.stdout).unwrap();
    for private in [secret.as_str(), "abcdefgh", "0123456789", "c0nfig", &text(&token, "token")] {
        assert!(!document.contains(private), "{private}: {document}");
    }
    std::fs::write(folder.path().join("backup/all.json"), &document).unwrap();
    let wrong = waybill(&new, folder.path(), &["apply", "backup/all.json"], "another passphrase");
    assert!(!wrong.status.success() && said(&wrong).contains("does not open"), "{}", said(&wrong));
    assert_eq!(new.get("/api/v1/modules").await, json!([]), "nothing was uploaded");
    let applied = waybill(&new, folder.path(), &["apply", "backup/all.json"], PASSPHRASE);
    assert!(applied.status.success(), "{}", said(&applied));
    let again = waybill(&new, folder.path(), &["apply", "backup/all.json"], PASSPHRASE);
    assert!(!said(&again).contains("\"update\""), "{}", said(&again));

    let without = |config: Value| merged(config, &json!({"secrets": null}));
    assert_eq!(without(new.get(CONFIG).await), without(old.get(CONFIG).await));
    // It signs, sends and admits as the old one did.
    let n8n = new.client_with(Some(&text(&token, "token")));
    n8n.post("/api/v1/events", &invoice(1)).await.unwrap();
    let arrival = receiver.first("/a?key=0123456789").await;
    assert_eq!(arrival.header("authorization"), "Bearer abcdefgh");
    assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, &secret));
    let flow = new.get("/api/v1/flows/f").await;
    assert_eq!(flow["modules"][0]["config"]["key"], "c0nfig");
}

#[tokio::test]
async fn a_pinned_version_is_uploaded_where_its_bytes_have_another_number() {
    let Some(component) = guest("hot-leads") else { return };
    let Some(old) = World::start(Sqlite).await else { return };
    let Some(new) = World::start(Sqlite).await else { return };
    upload(&old, "m?activate=true", component.clone()).await;
    let url = "http://127.0.0.1:9/a";
    old.endpoint(&endpoint_with("a", url, &json!({}))).await;
    new.endpoint(&endpoint_with("a", url, &json!({}))).await;
    old.post("/api/v1/flows", &flow(&json!([{"name": "m", "version": 1}]))).await;
    upload(&new, "m?version=3", component).await;
    let folder = tempfile::TempDir::new().unwrap();
    let arguments = ["export", "--modules", "modules", "--format", "json"];
    let exported = waybill(&old, folder.path(), &arguments, PASSPHRASE);
    std::fs::write(folder.path().join("all.json"), exported.stdout).unwrap();
    let applied = waybill(&new, folder.path(), &["apply", "all.json"], PASSPHRASE);
    assert!(applied.status.success(), "{}", said(&applied));
    assert_eq!(new.get("/api/v1/flows/f").await["modules"][0]["version"], 1);
}

#[tokio::test]
async fn an_export_without_secrets_says_what_an_empty_server_lacks() {
    let Some(component) = guest("hot-leads") else { return };
    let Some(old) = World::start(Sqlite).await else { return };
    let Some(new) = World::start(Sqlite).await else { return };
    let more = json!({"headers": {"authorization": "Bearer abcdefgh"}});
    old.endpoint(&endpoint_with("a", "https://erp.example/a", &more)).await;
    let made = upload(&old, "m?activate=true", component.clone()).await.data();
    let mut document = old.get(CONFIG).await;
    assert_eq!(document["modules"][0]["sha256"], made["sha256"]);
    let answer = new.client().put(CONFIG, &document).await.unwrap();
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, made["sha256"].as_str().unwrap());
    assert_eq!(problem(&answer, 422)[0].0, "modules[0]");
    let answer = upload(&new, "m?version=1", component).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let answer = new.client().put(CONFIG, &document).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "endpoints[0].headers.authorization");
    document["endpoints"][0]["headers"]["authorization"] = json!("Bearer ijklmnop");
    let answer = new.client().put(CONFIG, &document).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    // Short passphrases do not protect anything.
    let answer =
        old.client().post("/api/v1/config/export", &json!({"passphrase": "x"})).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "passphrase");
}

fn if_match(method: Method, path: &str, body: &Value, tag: &str) -> Call {
    Call::with_body(method, path, "application/json", body.to_string()).header("if-match", tag)
}

/// Two operators have the same form open. The second is told what the first has changed.
#[tokio::test]
async fn a_change_over_a_state_that_nobody_saw_is_refused_and_says_what_changed() {
    let Some(world) = World::start(Sqlite).await else { return };
    let endpoint = json!({"name": "one", "url": "http://127.0.0.1:9/a", "events": ["*"]});
    let flow = json!({"name": "one", "events": ["*"], "endpoints": ["another"]});
    world.endpoint(&json!({"name": "another", "url": "http://127.0.0.1:9/", "events": []})).await;
    let source = json!({"name": "one", "kind": "webhook", "webhook": {"scheme": "none"}});
    let token = json!({"name": "one", "scopes": ["events:read"]});
    for (list, object, field, value) in [
        ("flows", flow, "events", json!(["invoice.*"])),
        ("endpoints", endpoint, "timeout", json!("7s")),
        ("sources", source, "enabled", json!(false)),
        ("tokens", token, "rate", json!(7)),
    ] {
        let made = world.client().post(&format!("/api/v1/{list}"), &object).await.unwrap();
        assert_eq!(made.status, 201, "{list}: {}", made.text());
        let path = format!("/api/v1/{list}/one");
        let seen = world.client().get(&path).await.unwrap().header("etag").to_owned();
        assert_eq!(seen, made.header("etag"), "{list}");
        let change = json!({field: value.clone()});
        let first = if_match(Method::PATCH, &path, &change, &seen);
        let first = world.client().send(first).await.unwrap();
        assert_eq!(first.status, 200, "{list}: {}", first.text());

        for method in [Method::PATCH, Method::DELETE] {
            let late = if_match(method, &path, &json!({"name": "two"}), &seen);
            let late = world.client().send(late).await.unwrap();
            let changed = problem(&late, 412);
            assert_eq!(changed.len(), 1, "{list}: {}", late.text());
            assert_eq!(changed[0].0, field, "{list}");
            assert!(changed[0].1.contains(&value.to_string()), "{list}: {}", late.text());
            assert_eq!(late.header("etag"), first.header("etag"), "{list}");
        }
        let weak = format!("W/{}", first.header("etag"));
        let informed = if_match(Method::DELETE, &path, &json!({}), &weak);
        assert_eq!(world.client().send(informed).await.unwrap().status, 204, "{list}");
    }
}

/// The secret is not part of a tag, but changing it changes the tag.
#[tokio::test]
async fn a_rotated_secret_is_a_change_that_a_tag_tells() {
    let Some(world) = World::start(Sqlite).await else { return };
    let endpoint = json!({"name": "one", "url": "http://127.0.0.1:9/a", "events": ["*"]});
    let made = world.client().post("/api/v1/endpoints", &endpoint).await.unwrap();
    world.post("/api/v1/endpoints/one/rotate-secret", &json!({})).await;
    let late = if_match(Method::PATCH, "/api/v1/endpoints/one", &json!({}), made.header("etag"));
    let late = world.client().send(late).await.unwrap();
    assert_eq!((late.status.as_u16(), late.json()["errors"].clone()), (412, json!(null)));
    assert!(late.text().contains("a secret"), "{}", late.text());
    let any = if_match(Method::PATCH, "/api/v1/endpoints/one", &json!({"timeout": "7s"}), "*");
    assert_eq!(world.client().send(any).await.unwrap().status, 200);
}
