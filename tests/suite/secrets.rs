//! Data that must not appear anywhere: secrets, tokens and payloads are marked and posted through
//! every path, then searched in logs, audit, errors, metrics and the OpenAPI description.

use crate::support::{endpoint_with, token};
use hyper::{Method, StatusCode};
use serde_json::json;

use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::{Answer, Receiver, Reply, World};

/// Part of everything that must not appear.
const MARK: &str = "m4rkedS3cret";

fn mark(what: &str) -> String {
    format!("{MARK}-{what}-0123456789")
}

/// Returns ways to authenticate, each with a secret that is unknown or has too few rights.
fn wrong_callers(method: &Method, path: &str) -> Vec<Call> {
    let call = || Call::new(method.clone(), path);
    vec![
        call().header("authorization", &format!("Bearer {}", mark("bearer"))),
        call().header("authorization", &format!("Basic {}", mark("basic"))),
        call().header("authorization", &mark("bare")),
        call().header("x-api-key", &mark("key")),
        call().header("cookie", &mark("cookie")),
        call().header("x-forwarded-for", &mark("forwarded")),
    ]
}

/// Returns bodies that each route has to refuse, or to accept without showing them.
fn bodies() -> Vec<String> {
    let value = mark("payload");
    vec![
        json!({"type": "invoice.paid", "data": {"secret": value}}).to_string(),
        json!({"name": "x", "url": "x", "secret": value, "headers": {"x-key": value}}).to_string(),
        json!({"name": 5, "data": value, "type": {"a": value}, "secret": [value]}).to_string(),
        json!({"endpoints": [{"name": "x", "secret": value}], "flows": value}).to_string(),
        json!([value, {"x": value}]).to_string(),
        json!(value).to_string(),
        format!("{{\"type\": \"invoice.paid\", \"data\": {{\"secret\": \"{value}\""),
        format!("{value} is not JSON"),
        format!(
            "grant_type={value}&client_secret={value}&client_id={value}&scope={value}&token={value}"
        ),
    ]
}

fn assert_clean(what: &str, text: &str) {
    let found = text.lines().find(|line| line.contains(MARK));
    assert!(found.is_none(), "{what}: {}", found.unwrap_or_default());
}

/// Returns method and path of every operation.
async fn operations(world: &World) -> Vec<(Method, String)> {
    let document = world.client().get("/openapi.json").await.unwrap();
    assert_clean("the description", &document.text());
    let mut found = Vec::new();
    for (path, item) in document.json()["paths"].as_object().unwrap() {
        let filled = path.replace("{id}", "nothing").replace("{name}", "nothing");
        let filled = filled.replace("{resource}", "invoices").replace("{type}", "invoice.paid");
        let filled = filled.replace("{version}", "1").replace("{source}", "marked");
        let methods = item.as_object().unwrap().keys();
        let methods = methods.filter_map(|name| name.to_uppercase().parse().ok());
        found.extend(methods.map(|method| (method, filled.clone())));
    }
    found
}

fn assert_error_is_clean(what: &str, answer: &Answer) {
    if answer.status.is_success() {
        return;
    }
    assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{what}: {}", answer.text());
    assert_clean(what, &answer.text());
    for (name, value) in &answer.headers {
        assert_clean(&format!("{what}, {name}"), &String::from_utf8_lossy(value.as_bytes()));
    }
}

/// Creates the objects of an operator with marks wherever a secret is possible, and uses them once.
async fn deliver(world: &World, receiver: &Receiver) -> String {
    let path = format!("/hook?key={}", mark("query"));
    receiver.always(&path, Reply::with_header(500, "x-secret", &mark("reply")));
    let settings = json!({
        "secret": mark("endpoint"),
        "headers": {"x-api-key": mark("endpoint-header")},
        "signing": ["standard", "perfexapi"],
    });
    world.endpoint(&endpoint_with("crm", &receiver.url(&path), &settings)).await;
    let event = json!({"type": "invoice.paid", "data": {"iban": mark("iban")}});
    let id = world.event(&event).await;
    world.eventually("/api/v1/dead-letters", |list| list[0].is_object()).await;
    id
}

#[tokio::test]
async fn no_secret_token_or_payload_is_seen() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start_with(backend, |settings| {
            settings.environment("WAYBILL_LOG", "debug");
        })
        .await
        else {
            return;
        };
        let receiver = Receiver::start().await;
        let known = json!({"name": "poor", "scopes": ["flows:read"]});
        let known = token(&world, &known).await;
        // A caller that was accepted before the many wrong ones still is.
        let poor = world.client_with(Some(&known));
        assert_eq!(poor.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);
        let source = json!({
            "name": "marked", "kind": "webhook", "webhook": {"scheme": "stripe"}, "secret": mark("source"),
        });
        world.post("/api/v1/sources", &source).await;
        deliver(&world, &receiver).await;
        for (method, path) in operations(&world).await {
            let asked = format!("{path}?token={}&{}=1", mark("query"), mark("name"));
            let nobody = world.client_with(None);
            for call in wrong_callers(&method, &asked) {
                let answer = nobody.send(call).await.unwrap();
                assert_error_is_clean(&format!("{method} {path}"), &answer);
            }
            for body in bodies() {
                let kind = if path.starts_with("/oauth") {
                    "application/x-www-form-urlencoded"
                } else {
                    "application/json"
                };
                let call = Call::with_body(method.clone(), &path, kind, body);
                let answer = world.client().send(call).await.unwrap();
                assert_error_is_clean(&format!("{method} {path}"), &answer);
            }
        }
        assert_eq!(poor.get("/api/v1/tokens").await.unwrap().status, StatusCode::FORBIDDEN);
        // When the last call is audited, all are.
        world.eventually("/api/v1/audit?token=poor&status=403", |rows| rows[0].is_object()).await;
        let audit = world.client().get("/api/v1/audit/export").await.unwrap().text();
        assert!(audit.lines().count() > 300, "{audit}");
        assert_clean("the audit", &audit);
        assert!(!audit.contains(&known), "a token in the audit");
        let metrics = world.client().get("/metrics").await.unwrap();
        assert_clean("metrics", &metrics.text());
        for list in ["endpoints", "tokens", "config"] {
            let shown = world.client().get(&format!("/api/v1/{list}")).await.unwrap().text();
            for secret in [mark("endpoint"), mark("endpoint-header"), known.clone()] {
                assert!(!shown.contains(&secret), "{list}: {shown}");
            }
        }
        world.server().wait_for_line(&["DEBUG"]).unwrap();
        let log = world.server().output();
        assert_clean("the log", &log);
        assert!(!log.contains(&known), "a token in the log");
    }
}
