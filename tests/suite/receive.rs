//! Webhooks of other systems: signed, mapped, and recognised when they come again.

use crate::support::{assert_problem, endpoint, hmac, merged};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::{Answer, Receiver, World};

mod bodies;
mod repeats;
mod senders;

pub(crate) const SECRET: &str = "the-other-system-s-secret";

/// Creates a webhook source with this scheme.
pub(crate) async fn source(world: &World, name: &str, scheme: &str, more: &Value) -> Value {
    let webhook = merged(json!({"scheme": scheme}), more);
    let settings = json!({"name": name, "kind": "webhook", "webhook": webhook, "secret": SECRET});
    world.post("/api/v1/sources", &settings).await
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn hex(parts: &[&[u8]]) -> String {
    hex::encode(hmac(SECRET.as_bytes(), parts))
}

/// Returns the headers with which a sender of this scheme signs a body at this time.
pub(crate) fn signed(scheme: &str, body: &str, at: u64) -> Vec<(&'static str, String)> {
    let (body, at) = (body.as_bytes(), at.to_string());
    let timed = |separator: &[u8]| hex(&[at.as_bytes(), separator, body]);
    match scheme {
        "perfexapi" => vec![("x-perfexapi-signature", hex(&[body]))],
        "webhook" => vec![("x-webhook-signature", hex(&[body]))],
        "n8n-bridge" => vec![("x-perfex-signature", hex(&[body]))],
        "themesic" => vec![("x-perfex-signature", format!("t={at},v1={}", timed(b".")))],
        "stripe" => vec![("stripe-signature", format!("t={at},v1={}", timed(b".")))],
        "github" => vec![("x-hub-signature-256", format!("sha256={}", hex(&[body])))],
        "shopify" => {
            let tag = BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), &[body]));
            vec![("x-shopify-hmac-sha256", tag)]
        }
        "slack" => {
            let tag = hex(&[b"v0:", at.as_bytes(), b":", body]);
            vec![("x-slack-request-timestamp", at), ("x-slack-signature", format!("v0={tag}"))]
        }
        "standard" => {
            let tag = hmac(SECRET.as_bytes(), &[b"msg_1.", at.as_bytes(), b".", body]);
            let tag = format!("v1,{}", BASE64_STANDARD.encode(tag));
            vec![
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", at),
                ("webhook-signature", tag),
            ]
        }
        _ => Vec::new(),
    }
}

pub(crate) fn call(name: &str, body: &str, headers: &[(&'static str, String)]) -> Call {
    let call = Call::post(&format!("/in/{name}"), "application/json", body.to_owned());
    headers.iter().fold(call, |call, (name, value)| call.header(name, value))
}

pub(crate) async fn send(world: &World, call: Call) -> Answer {
    world.client_with(None).send(call).await.unwrap()
}

/// Returns the event behind an answer.
pub(crate) async fn event(world: &World, answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    world.get(&format!("/api/v1/events/{}", answer.data()["id"].as_str().unwrap())).await
}

/// Scheme, signing, body, further headers, and the resulting event.
type System =
    (&'static str, &'static str, &'static str, Vec<(&'static str, String)>, &'static str, Value);

/// Returns the requests of each system.
#[expect(clippy::too_many_lines, reason = "one case after the other")]
fn systems() -> Vec<System> {
    let topic = vec![("x-shopify-topic", "orders/create".to_owned())];
    let github = vec![("x-github-event", "issues".to_owned())];
    vec![
        (
            "perfexapi",
            "perfexapi",
            r#"{"event":"invoice.paid","payload":{"id":"17","total": "9.50"}}"#,
            vec![],
            "invoice.paid",
            json!({"id": "17", "total": "9.50"}),
        ),
        (
            "perfexapi",
            "webhook",
            r#"{"event":"invoice_paid","payload":{"id":"18"}}"#,
            vec![],
            "invoice.paid",
            json!({"id": "18"}),
        ),
        (
            "themesic",
            "themesic",
            r#"{"event":"credit_note_created","timestamp":1,"data":{"id":"3"}}"#,
            vec![],
            "credit_note.created",
            json!({"id": "3"}),
        ),
        (
            "n8n-bridge",
            "n8n-bridge",
            r#"{"event":"after_invoice_added","data":{"id":"4"}}"#,
            vec![],
            "invoice.created",
            json!({"id": "4"}),
        ),
        (
            "standard",
            "standard",
            r#"{"type":"lead.converted","timestamp":"2026-01-02T03:04:05Z","data":{"id":"5"}}"#,
            vec![],
            "lead.converted",
            json!({"id": "5"}),
        ),
        (
            "github",
            "github",
            r#"{"action":"opened","issue":{"id":6}}"#,
            github,
            "github.issues.opened",
            json!({"action": "opened", "issue": {"id": 6}}),
        ),
        (
            "stripe",
            "stripe",
            r#"{"id":"evt_7","type":"invoice.paid","created":1700000000,"data":{"object":{"id":"in_7"}}}"#,
            vec![],
            "stripe.invoice.paid",
            json!({"id": "in_7"}),
        ),
        ("shopify", "shopify", r#"{"id":8}"#, topic, "shopify.orders.create", json!({"id": 8})),
        (
            "slack",
            "slack",
            r#"{"type":"event_callback","event_id":"Ev9","event":{"type":"app_mention"}}"#,
            vec![],
            "slack.app_mention",
            json!({"type": "app_mention"}),
        ),
        (
            "none",
            "none",
            r#"{"event":"table.create","table":"invoices","data":{"id":"10"}}"#,
            vec![],
            "invoice.created",
            json!({"id": "10"}),
        ),
    ]
}

#[tokio::test]
async fn each_system_s_webhooks_become_events() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for (scheme, signing, body, more, event_type, data) in systems() {
            let name = format!("from-{signing}");
            source(&world, &name, scheme, &json!({})).await;
            let mut headers = signed(signing, body, now());
            headers.extend(more);
            let answer = send(&world, call(&name, body, &headers)).await;
            let event = event(&world, &answer).await;
            assert_eq!((&event["type"], &event["data"]), (&json!(event_type), &data), "{signing}");
            assert_eq!(event["source"], name);
        }
        let stripe = world.get("/api/v1/events?source=from-stripe").await;
        assert_eq!(stripe[0]["external_id"], "evt_7");
        assert_eq!(stripe[0]["occurred_at"], "2023-11-14T22:13:20.000Z");
    }
}

#[tokio::test]
async fn a_webhook_reaches_an_endpoint() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint("erp", &receiver.url("/hook"))).await;
    source(&world, "crm", "perfexapi", &json!({})).await;
    let body = r#"{"event":"invoice.paid","payload":{"id":"17"}}"#;
    let answer = send(&world, call("crm", body, &signed("perfexapi", body, now()))).await;
    let arrival = receiver.first("/hook").await;
    assert_eq!(arrival.json()["id"], answer.data()["id"]);
    assert_eq!(
        (&arrival.json()["source"], &arrival.json()["resource_id"]),
        (&json!("crm"), &json!("17"))
    );
}

#[tokio::test]
async fn what_is_not_the_source_s_is_refused_and_counted() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.set("server.max_body", "2048");
    })
    .await
    else {
        return;
    };
    source(&world, "crm", "perfexapi", &json!({})).await;
    source(&world, "pay", "stripe", &json!({"tolerance": "1m"})).await;
    let body = r#"{"event":"invoice.paid","payload":{}}"#;
    let unauthorized = StatusCode::UNAUTHORIZED;
    let good = signed("perfexapi", body, now());
    let other = r#"{"event":"invoice.paid","payload":{"id":1}}"#;
    for (name, body, headers, status, detail) in [
        ("crm", body, vec![], unauthorized, "is missing"),
        ("crm", other, good.clone(), unauthorized, "does not fit"),
        ("pay", body, signed("stripe", body, now() - 3_600), unauthorized, "signed 36"),
        ("pay", body, signed("stripe", body, now() + 3_600), unauthorized, "in the future"),
        ("pay", body, vec![("stripe-signature", "v1=00".to_owned())], unauthorized, "form"),
        ("nobody", body, good.clone(), StatusCode::NOT_FOUND, "no webhook source"),
        ("crm", "{", signed("perfexapi", "{", 0), StatusCode::BAD_REQUEST, "not JSON"),
        (
            "crm",
            "{}",
            signed("perfexapi", "{}", 0),
            StatusCode::UNPROCESSABLE_ENTITY,
            "places.event",
        ),
    ] {
        assert_problem(&send(&world, call(name, body, &headers)).await, status, detail);
    }
    let long = format!(r#"{{"event":"invoice.paid","payload":"{}"}}"#, "x".repeat(4_000));
    let answer = send(&world, call("crm", &long, &signed("perfexapi", &long, 0))).await;
    assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE, "2048 bytes");
    assert_eq!(world.get("/api/v1/events").await, json!([]));

    let status = world.get("/api/v1/sources/crm").await["status"].clone();
    let refused =
        json!({"body": 1, "invalid": 1, "malformed": 1, "unsigned": 1, "wrong_signature": 1});
    assert_eq!(status["refused"], refused);
    assert!(status["last_error"].as_str().unwrap().contains("2048"));
    let metrics = world.client().get("/metrics").await.unwrap().text();
    for line in [
        r#"waybill_source_refused_total{source="crm",reason="wrong_signature"} 1"#,
        r#"waybill_source_refused_total{source="pay",reason="stale"} 2"#,
        "waybill_source_unknown_total 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_request_that_comes_again_is_recognised() {
    for backend in [Sqlite, Postgres] {
        let Some(mut world) = World::start(backend).await else { return };
        for (scheme, body) in [
            ("perfexapi", r#"{"event":"invoice.paid","payload":{"id":"1"}}"#),
            ("themesic", r#"{"event":"invoice_paid","data":{"id":"2"}}"#),
            ("standard", r#"{"type":"invoice.paid","data":{"id":"3"}}"#),
        ] {
            source(&world, scheme, scheme, &json!({})).await;
            let headers = signed(scheme, body, now());
            let first = send(&world, call(scheme, body, &headers)).await;
            assert_eq!(first.data()["duplicate"], false, "{}", first.text());
            // A request without an id is recognised for some seconds only, and a restart may take
            // longer.
            if scheme == "standard" {
                world.restart();
            }
            // In another notation it is the same signature.
            let upper = |(name, value): &(&'static str, String)| match *name {
                "x-perfexapi-signature" => (*name, value.to_uppercase()),
                _ => (*name, value.clone()),
            };
            let headers: Vec<_> = headers.iter().map(upper).collect();
            let again = send(&world, call(scheme, body, &headers)).await;
            assert_eq!(again.status, StatusCode::ACCEPTED);
            let same = json!({"id": first.data()["id"], "duplicate": true});
            assert_eq!(again.data(), same, "{scheme}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_rotated_with_grace() {
    let Some(world) = World::start(Sqlite).await else { return };
    let made = json!({"name": "crm", "kind": "webhook", "webhook": {"scheme": "github"}});
    let made = world.post("/api/v1/sources", &made).await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    assert_eq!(made["path"], "/in/crm");
    let shown = world.get("/api/v1/sources/crm").await;
    assert!(shown["secret"].is_null());
    let path = "/api/v1/sources/crm/rotate-secret";
    for grace in ["24h", "0s"] {
        world.post(path, &json!({"secret": SECRET, "grace": "1h"})).await;
        world.post(path, &json!({"secret": "another", "grace": grace})).await;
        let body = format!(r#"{{"grace":"{grace}"}}"#);
        let mut headers = signed("github", &body, 0);
        headers.push(("x-github-event", "push".to_owned()));
        let answer = send(&world, call("crm", &body, &headers)).await;
        let fits = if grace == "24h" { StatusCode::ACCEPTED } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status, fits, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_source_is_paused_tried_and_said_to_be_open() {
    let Some(world) = World::start(Sqlite).await else { return };
    let places = json!({"places": {"event": "/what", "data": "/row", "id": "/n"}, "rename": {"Bezahlt": "invoice.paid"}});
    let made = source(&world, "erp", "none", &places).await;
    assert!(made["warning"].as_str().unwrap().contains("nothing is verified"));
    assert!(made["secret"].is_null());
    let body = json!({"what": "Bezahlt", "row": {"id": 5}, "n": "A1"});
    let would_be = world.post("/api/v1/sources/erp/test", &json!({"body": body})).await;
    assert_eq!(
        (&would_be["type"], &would_be["external_id"]),
        (&json!("invoice.paid"), &json!("A1"))
    );
    assert_eq!(would_be["resource_id"], "5");
    assert_eq!(world.get("/api/v1/events").await, json!([]), "a trial captures nothing");

    let body = body.to_string();
    world.post("/api/v1/sources/erp/pause", &json!({})).await;
    let answer = send(&world, call("erp", &body, &[])).await;
    assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE, "paused");
    assert_eq!(answer.header("retry-after"), "60");
    world.post("/api/v1/sources/erp/resume", &json!({})).await;
    assert_eq!(
        event(&world, &send(&world, call("erp", &body, &[])).await).await["type"],
        "invoice.paid"
    );

    for (wrong, path) in [
        (json!({"name": "x", "kind": "webhook"}), "webhook"),
        (json!({"name": "x", "webhook": {"scheme": "none"}}), "webhook"),
        (
            json!({"name": "x", "kind": "webhook", "webhook": {"scheme": "stripe", "tolerance": "25h"}}),
            "webhook.tolerance",
        ),
        (
            json!({"name": "x", "kind": "webhook", "webhook": {"scheme": "none", "places": {"event": "what"}}}),
            "webhook.places.event",
        ),
        (
            json!({"name": "x", "kind": "webhook", "webhook": {"scheme": "none", "rename": {"a": "b"}}}),
            "webhook.rename.a",
        ),
        (
            json!({"name": "x", "kind": "webhook", "webhook": {"scheme": "github"}, "secret": ""}),
            "secret",
        ),
    ] {
        let answer = world.client().post("/api/v1/sources", &wrong).await.unwrap();
        assert_eq!(crate::support::problem(&answer, 422)[0].0, path, "{wrong}");
    }
}

#[tokio::test]
async fn a_source_that_pushes_shows_how_it_is_doing_too() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.post("/api/v1/sources", &json!({"name": "erp"})).await;
    let event = json!({"type": "invoice.paid", "source": "erp", "id": "1", "data": {}});
    world.event(&event).await;
    world.event(&event).await;
    let status = world.get("/api/v1/sources/erp").await["status"].clone();
    assert_eq!((&status["captured"], &status["duplicates"]), (&json!(1), &json!(1)));
    assert!(status["last_success_at"].is_string());
}

#[tokio::test]
async fn slack_s_question_is_answered() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "slack", "slack", &json!({})).await;
    let body = r#"{"type":"url_verification","challenge":"3eZbrw1a"}"#;
    let answer = send(&world, call("slack", body, &signed("slack", body, now()))).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"challenge": "3eZbrw1a"})));
    let answer = send(&world, call("slack", body, &[])).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_document_sets_webhook_sources() {
    let Some(world) = World::start(Sqlite).await else { return };
    let document = json!({"sources": [
        {"name": "crm", "kind": "webhook", "webhook": {"scheme": "perfexapi"}, "secret": SECRET},
        {"name": "open", "kind": "webhook", "webhook": {"scheme": "none"}},
        {"name": "made", "kind": "webhook", "webhook": {"scheme": "stripe"}},
    ]});
    let apply = || async { world.client().put("/api/v1/config", &document).await.unwrap() };
    let changes = apply().await.data()["changes"].clone();
    assert_eq!((&changes[0]["action"], &changes[0]["secret"]), (&json!("create"), &Value::Null));
    assert!(changes[1]["secret"].is_null() && changes[2]["secret"].is_string(), "{changes}");
    let again = apply().await.data()["changes"].clone();
    assert!((0..3).all(|n| again[n]["action"] == "unchanged"), "{again}");
    let export = world.client().get("/api/v1/config").await.unwrap();
    assert!(!export.text().contains(SECRET));
    let body = r#"{"event":"invoice.paid","payload":{"id":"17"}}"#;
    let answer = send(&world, call("crm", body, &signed("perfexapi", body, now()))).await;
    event(&world, &answer).await;
    let other = Call::new(Method::GET, "/in/crm");
    assert_eq!(send(&world, other).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// Ids of many systems can be guessed. A caller that may push events must not make a signed one
/// look like a repeat.
#[tokio::test]
async fn a_token_cannot_suppress_signed_webhooks() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let body = r#"{"event":"invoice.paid","delivery_id":"7","payload":{"id":"1"}}"#;
        let guess = json!({"type": "invoice.paid", "source": "crm", "id": "7", "data": {}});
        let writer = json!({"name": "writer", "scopes": ["events:write"]});
        let writer = crate::support::caller(&world, &writer).await;
        let before = writer.post("/api/v1/events", &guess).await.unwrap();
        assert_eq!(before.data()["duplicate"], false, "{}", before.text());

        source(&world, "crm", "perfexapi", &json!({})).await;
        let refused = writer.post("/api/v1/events", &guess).await.unwrap();
        assert_problem(&refused, StatusCode::FORBIDDEN, "/in/crm");
        let cloud =
            json!({"specversion": "1.0", "type": "a.b", "source": "crm", "id": "8", "data": 1});
        let cloud = Call::post("/api/v1/events", "application/cloudevents+json", cloud.to_string());
        assert_problem(&writer.send(cloud).await.unwrap(), StatusCode::FORBIDDEN, "/in/crm");
        let both = json!([{"type": "a.b", "data": {}}, guess]);
        let refused = writer.post("/api/v1/events", &both).await.unwrap();
        assert_problem(&refused, StatusCode::FORBIDDEN, "/in/crm");
        assert_eq!(world.get("/api/v1/events").await.as_array().unwrap().len(), 1);

        let answer = send(&world, call("crm", body, &signed("perfexapi", body, now()))).await;
        assert_eq!(answer.data()["duplicate"], false, "{}", answer.text());
        let again = send(&world, call("crm", body, &signed("perfexapi", body, now()))).await;
        assert_eq!(again.data()["duplicate"], true);
    }
}

/// A signature is not the only proof of the sender.
#[tokio::test]
async fn a_token_cannot_push_for_any_source_that_is_verified() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (name, webhook, refused) in [
        ("basic", json!({"scheme": "basic"}), true),
        ("token", json!({"scheme": "token", "token": {"header": "x-token"}}), true),
        ("near", json!({"scheme": "none", "from": ["192.0.2.0/24"]}), true),
        ("open", json!({"scheme": "none"}), false),
    ] {
        let mut settings = json!({"name": name, "kind": "webhook", "webhook": webhook});
        if ["basic", "token"].contains(&name) {
            settings["secret"] = json!("user:the-other-system-s-secret");
        }
        world.post("/api/v1/sources", &settings).await;
        let event = json!({"type": "a.b", "source": name, "data": {}});
        let answer = world.client().post("/api/v1/events", &event).await.unwrap();
        if refused {
            assert_problem(&answer, StatusCode::FORBIDDEN, &format!("/in/{name}"));
        } else {
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        }
    }
}

/// Hooks of a CRM name their record in many ways; records, collapsing and order depend on it.
#[tokio::test]
async fn a_hook_s_arguments_name_the_record() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "crm", "none", &json!({})).await;
    for (body, resource, id) in [
        (
            json!({"event": "lead_created", "data": {"lead_id": 5, "web_to_lead_form": true}}),
            "lead",
            "5",
        ),
        (json!({"event": "task_status_changed", "data": {"status": 5, "task_id": 7}}), "task", "7"),
        (
            json!({"event": "project_status_changed", "data": {"project_id": 2, "status": 4}}),
            "project",
            "2",
        ),
        (
            json!({"event": "after_payment_deleted", "data": {"paymentid": 9, "invoiceid": 128}}),
            "payment",
            "9",
        ),
        (
            json!({"event": "invoice.created", "data": {"invoice_id": 128, "customer_id": 4}}),
            "invoice",
            "128",
        ),
        (json!({"event": "customer_created", "data": {"id": 4}}), "customer", "4"),
        (json!({"event": "contact_updated", "data": [77, {"title": "CEO"}]}), "contact", "77"),
        (
            json!({"event": "proposal_converted_to_invoice", "data": {"proposal_id": 3, "invoice_id": 1}}),
            "proposal",
            "3",
        ),
    ] {
        let answer = send(&world, call("crm", &body.to_string(), &[])).await;
        let event = event(&world, &answer).await;
        assert_eq!(
            (&event["resource"], &event["resource_id"]),
            (&json!(resource), &json!(id)),
            "{body}"
        );
    }
    let group = json!({"event": "customer_group_deleted", "data": {"id": 3}}).to_string();
    let event = event(&world, &send(&world, call("crm", &group, &[])).await).await;
    assert_eq!(event["resource_id"], Value::Null, "the id is the group's, not a customer's");
}

#[tokio::test]
async fn hooks_of_one_record_collapse_and_leave_its_state() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let smart = json!({
        "name": "erp", "url": receiver.url("/hook"), "events": ["lead.status_changed"],
        "mode": "smart", "smart": {"window": "2s", "max_wait": "10s"},
    });
    world.endpoint(&smart).await;
    source(&world, "crm", "none", &json!({})).await;
    let row = json!({"id": "5", "name": "Eleni", "status": "1"});
    world.event(&json!({"type": "lead.created", "source": "crm", "data": row})).await;
    for status in 2..=4 {
        let arguments = json!({"lead_id": 5, "old_status": status - 1, "new_status": status});
        let body = json!({"event": "lead_status_changed", "data": arguments}).to_string();
        let answer = send(&world, call("crm", &body, &[])).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    }
    let arrival = receiver.first("/hook").await;
    assert_eq!(arrival.json()["payload"]["new_status"], 4);
    assert_eq!(arrival.json()["collapsed"], 2, "and the last one is sent");
    let lead = world.get("/api/v1/leads/5").await;
    assert_eq!(lead["name"], "Eleni", "a hook's arguments do not take the record's state away");
}
