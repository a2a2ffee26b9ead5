//! `/metrics`: its series and their access, and that the dashboard, the rules and the documents
//! only name existing series.

use crate::modules::upload;
use crate::support::{endpoint_with, invoice, token};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use waybill_tests::Backend::Sqlite;
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, skip};
use waybill_tests::{Client, Receiver, Reply, World};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

async fn scrape(client: &Client) -> String {
    let answer = client.get("/metrics").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    answer.text()
}

/// Returns the names of all series of a scrape.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Returns the families of a scrape.
fn families(text: &str) -> BTreeSet<String> {
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    heads.map(|head| head.split(' ').next().unwrap().to_owned()).collect()
}

/// Returns every name of a Waybill series in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_series = |word: &&str| word.starts_with("waybill_") || word.starts_with("process_");
    words.filter(is_series).map(str::to_owned).collect()
}

/// Starts a world in which a bit of everything has happened.
async fn busy() -> Option<(World, Receiver)> {
    let world = World::start(Sqlite).await?;
    let receiver = Receiver::start().await;
    receiver.always("/bad", Reply::Status(500));
    let short = json!({"retry": {"schedule": ["20ms"]}});
    world.endpoint(&endpoint_with("good", &receiver.url("/good"), &json!({}))).await;
    world.endpoint(&endpoint_with("bad", &receiver.url("/bad"), &short)).await;
    let source = json!({"name": "crm", "kind": "webhook", "webhook": {"scheme": "github"}});
    world.post("/api/v1/sources", &source).await;
    let refused = world.client_with(None).post("/in/crm", &json!({})).await.unwrap();
    assert_ne!(refused.status, StatusCode::ACCEPTED);
    world.event(&invoice(1)).await;
    world.eventually("/api/v1/dead-letters", |found| found.as_array().unwrap().len() == 1).await;
    Some((world, receiver))
}

#[tokio::test]
async fn stages_and_endpoints_are_counted() {
    let Some((world, _receiver)) = busy().await else { return };
    let text = scrape(world.client()).await;
    for line in [
        "waybill_events_captured_total 1",
        "waybill_deliveries_delivered_total 1",
        "waybill_deliveries_dead_total 1",
        "waybill_attempts_failed_total 1",
        r#"waybill_endpoint_attempts_total{endpoint="good",outcome="delivered"} 1"#,
        r#"waybill_endpoint_attempts_total{endpoint="bad",outcome="server_error"} 2"#,
        r#"waybill_endpoint_dead_total{endpoint="bad"} 1"#,
        r#"waybill_source_captured_total{source="crm"} 0"#,
        "waybill_nodes 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
}

/// These series are the oldest, so operators' charts use them.
#[tokio::test]
async fn the_first_series_keep_their_names() {
    let Some((world, _receiver)) = busy().await else { return };
    let found = series(&scrape(world.client()).await);
    for name in [
        "waybill_events_captured_total",
        "waybill_events_duplicate_total",
        "waybill_plans_recorded_total",
        "waybill_deliveries_delivered_total",
        "waybill_attempts_failed_total",
        "waybill_deliveries_dead_total",
        "waybill_commits_total",
        "waybill_deliveries_in_memory",
        "waybill_source_captured_total",
        "waybill_source_refused_total",
        "waybill_source_unknown_total",
    ] {
        assert!(found.contains(name), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn the_dashboard_the_rules_and_the_documents_name_series_that_there_are() {
    let Some((world, _receiver)) = busy().await else { return };
    // Without its configuration the module fails, which counts as a call and a plan.
    let Some(component) = guest("hot-leads") else { return };
    upload(&world, "hot-leads", component).await;
    let flow = json!({"name": "leads", "events": ["lead.*"], "modules": [{"name": "hot-leads"}],
        "endpoints": ["good"]});
    world.post("/api/v1/flows", &flow).await;
    world.event(&json!({"type": "lead.created", "data": {"lead_value": "9000"}})).await;
    world.eventually("/api/v1/dead-letters", |found| found.as_array().unwrap().len() == 2).await;
    let text = scrape(world.client()).await;
    let families = families(&text);
    let whole = |name: &str| {
        let bare = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        families.contains(name) || bare.is_some_and(|bare| families.contains(bare))
    };
    for file in
        ["deploy/grafana/waybill.json", "deploy/prometheus/waybill.rules.yml", "docs/monitoring.md"]
    {
        let missing: Vec<String> =
            named(&read(file)).into_iter().filter(|name| !whole(name)).collect();
        assert!(missing.is_empty(), "{file} names what /metrics has not: {missing:?}");
    }
    let told = named(&read("docs/monitoring.md"));
    let untold: Vec<&String> = families.iter().filter(|name| !told.contains(*name)).collect();
    assert!(untold.is_empty(), "docs/monitoring.md does not name {untold:?}");
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/waybill.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[tokio::test]
async fn modules_and_flows_are_counted() {
    let Some(wasm) = guest("hot-leads") else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let none = json!({"events": []});
    world.endpoint(&endpoint_with("books", &receiver.url("/books"), &none)).await;
    let path = "/api/v1/modules/hot-leads?activate=true";
    let call = Call::post(path, "application/wasm", wasm);
    let uploaded = world.client().send(call).await.unwrap();
    assert_eq!(uploaded.status, StatusCode::CREATED, "{}", uploaded.text());
    let flow = json!({
        "name": "books", "events": ["invoice.*"], "modules": [{"name": "hot-leads", "config": {"threshold": "100"}}],
        "endpoints": ["books"],
    });
    world.post("/api/v1/flows", &flow).await;
    let event = world.event(&invoice(1)).await;
    let is_planned = |found: &Value| !found["steps"].as_array().unwrap().is_empty();
    world.eventually(&format!("/api/v1/events/{event}"), is_planned).await;
    let text = scrape(world.client()).await;
    let calls = text.lines().filter(|line| {
        line.starts_with(r#"waybill_module_calls_total{module="hot-leads""#) && line.ends_with(" 1")
    });
    assert_eq!(calls.count(), 1, "{text}");
    let plans = text.lines().filter(|line| {
        line.starts_with(r#"waybill_flow_plans_total{flow="books""#) && line.ends_with(" 1")
    });
    assert_eq!(plans.count(), 1, "{text}");
    let health = world.get("/api/v1/modules/hot-leads").await[0]["health"].clone();
    assert_eq!(health["state"], "well", "{health:#}");
}

#[tokio::test]
async fn figures_can_be_kept_from_others() {
    let ask = |settings: &mut waybill_tests::Settings| {
        settings.set("metrics.require_token", "true");
    };
    let Some(world) = World::start_with(Sqlite, ask).await else { return };
    let none = world.client_with(None).get("/metrics").await.unwrap();
    assert_eq!(none.status, StatusCode::UNAUTHORIZED, "{}", none.text());
    let other = token(&world, &json!({"name": "o", "scopes": ["nodes:read"]})).await;
    let other = world.client_with(Some(&other)).get("/metrics").await.unwrap();
    assert_eq!(other.status, StatusCode::FORBIDDEN, "{}", other.text());
    let own = token(&world, &json!({"name": "m", "scopes": ["metrics:read"]})).await;
    scrape(&world.client_with(Some(&own))).await;
    let slow = json!({"name": "s", "scopes": ["metrics:read"], "rate": 3});
    let slow = world.client_with(Some(&token(&world, &slow).await));
    let answer = slow.get("/metrics").await.unwrap();
    assert_eq!(answer.header("x-ratelimit-limit"), "3", "{}", answer.text());
}

#[tokio::test]
async fn figures_can_have_a_listener_of_their_own() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let own = format!("127.0.0.1:{port}");
    let change = |settings: &mut waybill_tests::Settings| {
        settings.set("metrics.listen", &own);
    };
    let Some(world) = World::start_with(Sqlite, change).await else { return };
    let beside = world.client().get("/metrics").await.unwrap();
    assert_eq!(beside.status, StatusCode::NOT_FOUND, "{}", beside.text());
    let client = Client::new(&format!("http://{own}"), None);
    scrape(&client).await;
    let api = client.get("/api/v1/auth/test").await.unwrap();
    assert_eq!(api.status, StatusCode::NOT_FOUND, "nothing else is served there");
}

/// `promtool` of Debian's package `prometheus` reads the rules and the figures.
#[tokio::test]
async fn promtool_accepts_the_rules_and_the_figures() {
    let Some((world, _receiver)) = busy().await else { return };
    if Command::new("promtool").arg("--version").output().is_err() {
        skip("promtool is not installed (Debian package prometheus)");
        return;
    }
    let rules = workspace().join("deploy/prometheus/waybill.rules.yml");
    let checked = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics.txt");
    std::fs::write(&file, scrape(world.client()).await).unwrap();
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(std::fs::File::open(&file).unwrap());
    let checked = check.output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
