//! Private values are encrypted in the database, masked for callers with only read access, never
//! sent to unintended places, and removed from receivers' answers.

use crate::support::{assert_problem, caller, endpoint_with, invoice};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::guest;
use waybill_tests::{Receiver, Reply, World};

/// Part of every private value.
const MARK: &str = "pr1vateMark";

fn mark(what: &str) -> String {
    format!("{MARK}-{what}-0123456789")
}

fn assert_not_in_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes());
            assert!(!found, "{}", entry.path().display());
        }
    }
}

/// Sets a private value wherever one is possible.
async fn with_private_values(world: &World, receiver: &Receiver) {
    let url = receiver.url(&format!("/hook?key={}", mark("query")));
    let more = json!({"headers": {"authorization": format!("Bearer {}", mark("header"))}});
    world.endpoint(&endpoint_with("crm", &url, &more)).await;
    let source = json!({
        "name": "shop", "kind": "poll", "enabled": false,
        "poll": {"url": "https://shop.example", "lists": [{"path": format!("/orders?key={}", mark("list"))}]},
    });
    world.post("/api/v1/sources", &source).await;
    if let Some(component) = guest("hot-leads") {
        let upload = Call::post("/api/v1/modules/m?activate=true", "application/wasm", component);
        assert_eq!(world.client().send(upload).await.unwrap().status, StatusCode::CREATED);
        let config = json!({"threshold": 5, "key": mark("config"), "deep": {"key": mark("deep")}});
        let flow = json!({
            "name": "f", "events": ["lead.*"], "endpoints": ["crm"],
            "modules": [{"name": "m", "config": config}],
        });
        world.post("/api/v1/flows", &flow).await;
    }
}

#[tokio::test]
async fn private_values_rest_encrypted_and_are_not_shown_to_readers() {
    for backend in [Sqlite, Postgres] {
        let Some(mut world) = World::start(backend).await else { return };
        let receiver = Receiver::start().await;
        with_private_values(&world, &receiver).await;
        let reader = caller(&world, &json!({"name": "reader", "scopes": ["read-only"]})).await;
        for list in ["endpoints", "webhooks", "flows", "sources"] {
            let shown = reader.get(&format!("/api/v1/{list}")).await.unwrap().text();
            assert!(shown.contains("***"), "{list}: {shown}");
            assert!(!shown.contains(MARK), "{list}: {shown}");
        }
        let export = world.client().get("/api/v1/config").await.unwrap().text();
        assert!(!export.contains(MARK), "{export}");
        // Applied to its own server, an export changes nothing.
        let document = world.get("/api/v1/config").await;
        let applied = world.client().put("/api/v1/config", &document).await.unwrap().data();
        let changes = applied["changes"].as_array().unwrap();
        assert!(changes.iter().all(|change| change["action"] == "unchanged"), "{applied:#}");
        // The values are used as they were set, also after a restart.
        world.event(&invoice(1)).await;
        let arrival = receiver.first(&format!("/hook?key={}", mark("query"))).await;
        assert_eq!(arrival.header("authorization"), format!("Bearer {}", mark("header")));
        world.stop();
        assert_not_in_files(world.folder());
        world.restart();
        world.event(&invoice(2)).await;
        let arrivals = receiver.wait_for(&format!("/hook?key={}", mark("query")), 2).await;
        assert_eq!(arrivals[1].header("authorization"), format!("Bearer {}", mark("header")));
    }
}

#[tokio::test]
async fn what_an_older_version_stored_in_plain_text_is_encrypted_at_the_start() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("crm", &receiver.url("/old"), &json!({}))).await;
    world.stop();
    let path = world.folder().join("waybill.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let body: String = db
        .query_row("SELECT body FROM object WHERE kind = 'endpoint'", [], |row| row.get(0))
        .unwrap();
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body["headers"] = json!({"authorization": mark("header")});
    body["url"] = json!(receiver.url(&format!("/hook?key={}", mark("query"))));
    db.execute("UPDATE object SET body = ?1 WHERE kind = 'endpoint'", [body.to_string()]).unwrap();
    drop(db);
    world.restart();
    world.event(&invoice(1)).await;
    let arrival = receiver.first(&format!("/hook?key={}", mark("query"))).await;
    assert_eq!(arrival.header("authorization"), mark("header"));
    world.stop();
    assert_not_in_files(world.folder());
}

#[tokio::test]
async fn a_changed_host_needs_the_headers_again() {
    let Some(world) = World::start(Sqlite).await else { return };
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let authorization = format!("Bearer {}", mark("header"));
    let more = json!({"headers": {"authorization": authorization, "x-plain": mark("other")}});
    world.endpoint(&endpoint_with("crm", &old.url("/a"), &more)).await;
    let path = "/api/v1/endpoints/crm";
    let moved = json!({"url": new.url("/b")});
    let answer = world.client().patch(path, &moved).await.unwrap();
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "");
    let faults = answer.json()["errors"].clone();
    assert_eq!(faults[0]["path"], "headers.authorization", "{faults:#}");
    assert!(faults[0]["message"].as_str().unwrap().contains("again"), "{faults:#}");
    let masked = json!({
        "url": new.url("/b"), "headers": {"authorization": "***", "x-plain": mark("new")},
    });
    let answer = world.client().patch(path, &masked).await.unwrap();
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "headers.authorization");
    let whole = endpoint_with("crm", &new.url("/b"), &json!({"headers": {"authorization": "***"}}));
    let answer = world.client().put(path, &whole).await.unwrap();
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "headers.authorization");
    let document = json!({"endpoints": [whole]});
    let answer = world.client().put("/api/v1/config", &document).await.unwrap();
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "headers.authorization");
    // Another path of the same host keeps them.
    let answer = world.client().patch(path, &json!({"url": old.url("/c")})).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.event(&invoice(1)).await;
    assert_eq!(old.first("/c").await.header("authorization"), authorization);
    let given = json!({"url": new.url("/b"), "headers": {"authorization": mark("new")}});
    let answer = world.client().patch(path, &given).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.event(&invoice(2)).await;
    assert_eq!(new.first("/b").await.header("authorization"), mark("new"));
}

#[tokio::test]
async fn a_receiver_that_echoes_puts_no_secret_into_the_trace() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let secret = format!("{}/+==", mark("header"));
    let path = format!("/echo?key={}", mark("query"));
    let echo = json!({"url": path, "headers": {"authorization": format!("Bearer {secret}")}});
    // PHP escapes the slash.
    let body = format!("{echo} {}", echo.to_string().replace('/', "\\/"));
    let headers = vec![("x-echo".to_owned(), format!("Bearer {secret}"))];
    receiver.always(&path, Reply::Full { status: 500, headers, body: body.into() });
    let more = json!({"headers": {"authorization": format!("Bearer {secret}")}, "retry": {"schedule": []}});
    world.endpoint(&endpoint_with("echo", &receiver.url(&path), &more)).await;
    let id = world.event(&invoice(1)).await;
    world.eventually("/api/v1/dead-letters", |list| list[0].is_object()).await;
    let trace = world.get(&format!("/api/v1/events/{id}")).await;
    let delivery = trace["deliveries"][0]["id"].as_str().unwrap();
    let delivery = world.get(&format!("/api/v1/deliveries/{delivery}")).await;
    let tested = world.post("/api/v1/endpoints/echo/test", &json!({})).await;
    for shown in [trace, delivery, tested] {
        let shown = shown.to_string();
        assert!(shown.contains("x-echo"), "{shown}");
        assert!(!shown.contains(MARK), "{shown}");
    }
}

#[tokio::test]
async fn trying_a_module_reads_no_stored_event_without_the_scope() {
    let Some(component) = guest("hot-leads") else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let upload = Call::post("/api/v1/modules/m?activate=true", "application/wasm", component);
    assert_eq!(world.client().send(upload).await.unwrap().status, StatusCode::CREATED);
    let lead = json!({"type": "lead.created", "data": {"id": 1, "email": mark("email")}});
    let id = world.event(&lead).await;
    let author = caller(&world, &json!({"name": "author", "scopes": ["modules:write"]})).await;
    let path = "/api/v1/modules/m/run";
    let answer = author.post(path, &json!({"event_id": id})).await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "events:read");
    assert!(!answer.text().contains(MARK));
    let answer = author.post(path, &json!({"event": lead})).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let both = json!({"name": "both", "scopes": ["modules:write", "events:read"]});
    let answer = caller(&world, &both).await.post(path, &json!({"event_id": id})).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn the_database_is_its_owner_s_alone() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    world.event(&invoice(1)).await;
    let names = ["waybill.db", "waybill.db-wal", "waybill.db-shm", "waybill.key"];
    let modes = |world: &World| -> Vec<u32> {
        let mode = |name| world.folder().join(name).metadata().ok().map(|m| m.permissions().mode());
        names.into_iter().filter_map(mode).map(|mode| mode & 0o777).collect()
    };
    assert_eq!(modes(&world), [0o600; 4]);
    world.kill9();
    for name in names {
        let path = world.folder().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    world.restart();
    assert_eq!(modes(&world), [0o600; 4]);
    world.server().wait_for_line(&["waybill.db", "others could read this file"]).unwrap();
}
