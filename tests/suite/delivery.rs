//! A delivery on the wire: headers, body, signatures.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Arrival, Receiver, World};

use crate::support::{
    endpoint, endpoint_with, hex_signature, hmac, invoice, standard_signature, verified,
};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[rstest]
#[tokio::test]
async fn a_delivery_is_signed_and_says_what_it_is(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let made = world.endpoint(&endpoint("erp", &receiver.url("/erp"))).await;
    let secret = text(&made, "secret");
    let id = world.event(&invoice(17)).await;
    let arrival = receiver.first("/erp").await;

    assert!(verified(&arrival, &secret), "{:?}", arrival.headers);
    let delivery = arrival.header("webhook-id").to_owned();
    assert!(delivery.starts_with("dlv_"), "{delivery}");
    assert_eq!(arrival.header("x-waybill-event"), "invoice.paid");
    assert_eq!(arrival.header("x-waybill-attempt"), "1");
    assert_eq!(arrival.header("content-type"), "application/json");
    assert!(arrival.header("user-agent").starts_with("Waybill/"));
    assert!(stamp_is_of_the_arrival(&arrival));

    let timestamp = arrival.json()["timestamp"].as_str().unwrap().to_owned();
    let body = format!(
        r#"{{"event":"invoice.paid","id":"{id}","delivery_id":"{delivery}","timestamp":"{timestamp}","source":"{}","resource":"invoice","resource_id":"17","payload":{{"id":17,"total":"1545.81"}}}}"#,
        arrival.json()["source"].as_str().unwrap(),
    );
    assert_eq!(arrival.body, body, "compact, in this order, and nothing else");

    let path = format!("/api/v1/deliveries/{delivery}");
    let stored = world.eventually(&path, |found| found["status"] == "delivered").await;
    assert_eq!(stored["event_id"], id);
    let attempt = &stored["attempts"][0];
    assert_eq!(attempt["status"], 200);
    assert_eq!(attempt["response_body"], "ok");
    assert_eq!(attempt["error_class"], Value::Null);
}

/// Returns whether the timestamp is that of the attempt, in whole seconds.
fn stamp_is_of_the_arrival(arrival: &Arrival) -> bool {
    let stamp: u64 = arrival.header("webhook-timestamp").parse().unwrap();
    let came = arrival.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    came.abs_diff(Duration::from_secs(stamp)) < Duration::from_mins(1)
}

#[tokio::test]
async fn every_scheme_signs_the_same_request() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let schemes = ["standard", "perfexapi", "webhook", "stripe", "github", "themesic", "ed25519"];
    let more = json!({"secret": SECRET, "signing": schemes});
    let made = world.endpoint(&endpoint_with("all", &receiver.url("/all"), &more)).await;
    world.event(&invoice(1)).await;
    let arrival = receiver.first("/all").await;

    let hex = hex_signature(&arrival, SECRET);
    assert_eq!(arrival.header("x-perfexapi-signature"), hex);
    assert_eq!(arrival.header("x-webhook-signature"), hex);
    assert_eq!(arrival.header("x-hub-signature-256"), format!("sha256={hex}"));
    for header in ["stripe-signature", "x-perfex-signature"] {
        let (time, tag) = arrival.header(header).split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let wanted = hmac(SECRET.as_bytes(), &[time.as_bytes(), b".", &arrival.body]);
        assert_eq!(tag, hex::encode(wanted), "{header}");
    }
    let signatures: Vec<&str> = arrival.header("webhook-signature").split(' ').collect();
    assert!(signatures.contains(&standard_signature(&arrival, SECRET).as_str()));
    let edwards = signatures.iter().find_map(|one| one.strip_prefix("v1a,")).unwrap();
    let signature = BASE64_STANDARD.decode(edwards).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    let (id, time) = (arrival.header("webhook-id"), arrival.header("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &arrival.body].concat();
    public_key(&made).verify_strict(&signed, &signature).unwrap();
}

/// Parses `whpk_` and base64 of the 32 bytes (Standard Webhooks 1.0).
fn public_key(endpoint: &Value) -> VerifyingKey {
    let shown = text(endpoint, "public_key");
    let key = BASE64_STANDARD.decode(shown.strip_prefix("whpk_").unwrap()).unwrap();
    VerifyingKey::from_bytes(key.as_slice().try_into().unwrap()).unwrap()
}

#[rstest]
#[tokio::test]
async fn a_rotated_secret_goes_on_verifying_in_its_grace(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let made = world.endpoint(&endpoint("erp", &receiver.url("/erp"))).await;
    let (id, old) = (text(&made, "id"), text(&made, "secret"));
    let rotate = format!("/api/v1/endpoints/{id}/rotate-secret");
    let new = text(&world.post(&rotate, &json!({"grace": "24h"})).await, "secret");
    assert_ne!(old, new);
    world.restart();
    world.event(&invoice(1)).await;
    let arrival = receiver.first("/erp").await;
    let wanted =
        format!("{} {}", standard_signature(&arrival, &new), standard_signature(&arrival, &old));
    assert_eq!(arrival.header("webhook-signature"), wanted);
    assert!(verified(&arrival, &new), "the other headers are the new secret's");

    let newest = text(&world.post(&rotate, &json!({"grace": "0s"})).await, "secret");
    world.event(&invoice(2)).await;
    let arrival = receiver.wait_for("/erp", 2).await.remove(1);
    assert_eq!(arrival.header("webhook-signature"), standard_signature(&arrival, &newest));

    let answer = world.client().post(&rotate, &json!({"grace": "25h"})).await.unwrap();
    let errors = crate::support::problem(&answer, 422);
    assert_eq!(errors[0].0, "grace");
    let shown = world.get(&format!("/api/v1/endpoints/{id}")).await;
    assert_eq!(shown.get("secret"), None, "a secret is shown once");
}

#[tokio::test]
async fn a_given_secret_is_used_and_a_short_one_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let with =
        |secret: &str| endpoint_with("erp", &receiver.url("/erp"), &json!({"secret": secret}));
    for secret in ["", "short", "whsec_QUJD", "whsec_***"] {
        let answer = world.client().post("/api/v1/endpoints", &with(secret)).await.unwrap();
        let errors = crate::support::problem(&answer, 422);
        assert_eq!(errors[0].0, "secret", "{secret}: {errors:?}");
    }
    world.endpoint(&with(SECRET)).await;
    world.event(&invoice(1)).await;
    assert!(verified(&receiver.first("/erp").await, SECRET));
}

#[tokio::test]
async fn each_envelope_has_its_form() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    for envelope in ["standard", "cloudevents", "cloudevents-binary", "raw"] {
        let path = format!("/{envelope}");
        let more = json!({"envelope": envelope, "secret": SECRET});
        world.endpoint(&endpoint_with(envelope, &receiver.url(&path), &more)).await;
    }
    let data = r#"{"id": 17, "total":1.50}"#;
    let body = format!(r#"{{"type":"invoice.paid","source":"crm","data":{data}}}"#);
    let call = waybill_tests::rest::Call::post("/api/v1/events", "application/json", body);
    let event = text(&world.client().send(call).await.unwrap().data(), "id");

    let raw = receiver.first("/raw").await;
    assert_eq!(raw.body, data, "byte for byte");
    let standard = receiver.first("/standard").await;
    let time = standard.json()["timestamp"].as_str().unwrap().to_owned();
    let wanted =
        format!(r#"{{"type":"invoice.paid","timestamp":"{time}","data":{{"id":17,"total":1.5}}}}"#);
    assert_eq!(standard.body, wanted);

    let structured = receiver.first("/cloudevents").await;
    assert_eq!(structured.header("content-type"), "application/cloudevents+json");
    let ce = structured.json();
    assert_eq!(ce["specversion"], "1.0");
    assert_eq!([&ce["id"], &ce["source"], &ce["type"]], [event.as_str(), "crm", "invoice.paid"]);
    assert_eq!([&ce["subject"], &ce["datacontenttype"]], ["17", "application/json"]);
    assert_eq!(ce["data"], json!({"id": 17, "total": 1.5}));

    let binary = receiver.first("/cloudevents-binary").await;
    assert_eq!(binary.body, r#"{"id":17,"total":1.5}"#);
    assert_eq!(binary.header("content-type"), "application/json");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &event),
        ("ce-type", "invoice.paid"),
        ("ce-source", "crm"),
    ] {
        assert_eq!(binary.header(name), value);
    }
    for arrival in [raw, standard, structured, binary] {
        assert!(verified(&arrival, SECRET), "{}", arrival.path);
    }
}

#[tokio::test]
async fn an_endpoint_gets_its_fields_and_headers() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({
        "headers": {"Authorization": "Bearer of-the-receiver", "X-Tenant": "7"},
        "field_map": {
            "include": ["id", "client", "items.rate"], "exclude": ["client.password"],
            "rename": {"client.company": "name", "id": "number"},
        },
    });
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &more)).await;
    let data = json!({
        "id": 17, "hash": "x", "client": {"company": "Acme", "password": "y"},
        "items": [{"rate": "1.00", "cost": "0.50"}],
    });
    world.event(&json!({"type": "invoice.paid", "data": data})).await;
    let arrival = receiver.first("/erp").await;
    assert_eq!(arrival.header("authorization"), "Bearer of-the-receiver");
    assert_eq!(arrival.header("x-tenant"), "7");
    let wanted = json!({"number": 17, "client": {"name": "Acme"}, "items": [{"rate": "1.00"}]});
    assert_eq!(arrival.json()["payload"], wanted);

    let shown = world.client().get(&format!("/api/v1/endpoints/{}", text(&made, "id"))).await;
    assert!(
        !shown.unwrap().text().contains("of-the-receiver"),
        "header values are not shown again"
    );
    let path = format!("/api/v1/deliveries/{}", arrival.header("webhook-id"));
    let stored = world.eventually(&path, |found| found["status"] == "delivered").await;
    assert!(!stored.to_string().contains("of-the-receiver"), "nor in the attempts");
}

#[tokio::test]
async fn an_endpoint_takes_the_events_that_its_patterns_name() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    for (name, pattern) in [("exact", "invoice.paid"), ("group", "invoice.*"), ("all", "*")] {
        let more = json!({"events": [pattern]});
        world.endpoint(&endpoint_with(name, &receiver.url(&format!("/{name}")), &more)).await;
    }
    for kind in ["invoice.paid", "invoice.created", "invoicing.paid", "lead.created"] {
        world.event(&json!({"type": kind, "data": {}})).await;
    }
    let kinds = |arrivals: Vec<Arrival>| {
        let mut kinds: Vec<String> =
            arrivals.iter().map(|one| one.header("x-waybill-event").to_owned()).collect();
        kinds.sort();
        kinds.join(" ")
    };
    let all = receiver.wait_for("/all", 4).await;
    assert_eq!(kinds(all), "invoice.created invoice.paid invoicing.paid lead.created");
    assert_eq!(kinds(receiver.wait_for("/group", 2).await), "invoice.created invoice.paid");
    assert_eq!(kinds(receiver.wait_for("/exact", 1).await), "invoice.paid");
    let planned = world.get("/api/v1/deliveries").await;
    assert_eq!(planned.as_array().unwrap().len(), 7, "and no others");
}

#[tokio::test]
async fn bad_endpoints_are_refused_field_by_field() {
    let Some(world) = World::start(Sqlite).await else { return };
    let url = "https://erp.example/in";
    for (more, path) in [
        (json!({"url": "erp.example"}), "url"),
        (json!({"url": "ftp://erp.example/"}), "url"),
        (json!({"url": "https://user:word@erp.example/"}), "url"),
        (json!({"url": "http://127.0.0.1:99999/ok"}), "url"),
        (json!({"url": "https://127.0.0.1:70000/ok"}), "url"),
        (json!({"url": "https://a..example/"}), "url"),
        (json!({"headers": {"X-A": "1", "x-a": "2"}}), "headers.x-a"),
        (json!({"events": ["*.paid"]}), "events[0]"),
        (json!({"events": ["invoice.*", "nodots"]}), "events[1]"),
        (json!({"mode": "later"}), "mode"),
        (json!({"timeout": "soon"}), "timeout"),
        (json!({"retry": {"schedule": ["1s", "x"]}}), "retry.schedule[1]"),
        (json!({"retry": {"jitter": 2}}), "retry.jitter"),
        (json!({"rate_limit": {"per_second": 0}}), "rate_limit.per_second"),
        (json!({"max_in_flight": 0}), "max_in_flight"),
        (json!({"signing": ["md5"]}), "signing[0]"),
        (json!({"headers": {"webhook-id": "x"}}), "headers.webhook-id"),
        (json!({"field_map": {"include": [""]}}), "field_map.include[0]"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let answer = world
            .client()
            .post("/api/v1/endpoints", &endpoint_with("erp", url, &more))
            .await
            .unwrap();
        let errors = crate::support::problem(&answer, 422);
        assert_eq!(errors[0].0, path, "{more}: {errors:?}");
        assert!(!errors[0].1.is_empty());
    }
    assert_eq!(world.get("/api/v1/endpoints").await, json!([]));
}

#[tokio::test]
async fn addresses_in_other_scripts_are_encoded() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let typed = receiver.url("/Straße/客户?u=ü");
    let made = world.endpoint(&endpoint("erp", &typed)).await;
    assert_eq!(made["url"], typed, "it is shown as it was typed");
    world.event(&invoice(1)).await;
    receiver.first("/Stra%C3%9Fe/%E5%AE%A2%E6%88%B7?u=%C3%BC").await;
    world.endpoint(&endpoint("books", "http://bücher.example/hook")).await;
}

#[rstest]
#[tokio::test]
async fn endpoints_are_made_changed_and_deleted(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let made = world.endpoint(&endpoint("erp", &receiver.url("/old"))).await;
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    assert!(text(&made, "id").starts_with("end_"));
    let patch = json!({"url": receiver.url("/new"), "mode": "smart"});
    let changed = world.client().patch(&path, &patch).await.unwrap();
    assert_eq!(changed.data()["mode"], "smart");
    assert_eq!(changed.data()["events"], json!(["invoice.*"]), "what is not named stays");
    let taken = endpoint("erp", "https://x.example/");
    let taken = world.client().post("/api/v1/endpoints", &taken).await.unwrap();
    crate::support::problem(&taken, 409);
    world.restart();
    assert_eq!(world.get(&path).await["url"], receiver.url("/new"));
    let whole = endpoint("erp2", &receiver.url("/newer"));
    let replaced = world.client().put(&path, &whole).await.unwrap().data();
    assert_eq!([&replaced["mode"], &replaced["name"]], ["async", "erp2"]);
    world.event(&invoice(1)).await;
    assert!(verified(&receiver.first("/newer").await, &text(&made, "secret")));
    assert_eq!(world.client().delete(&path).await.unwrap().status, 204);
    crate::support::problem(&world.client().get(&path).await.unwrap(), 404);
    world.event(&invoice(2)).await;
    assert_eq!(world.get("/api/v1/deliveries").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_test_sends_an_example_and_answers_with_the_attempt() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let made = world.endpoint(&endpoint("erp", &receiver.url("/erp"))).await;
    let path = format!("/api/v1/endpoints/{}/test", text(&made, "id"));
    let attempt = world.post(&path, &json!({"event_type": "invoice.paid"})).await;
    assert_eq!(attempt["status"], 200);
    let arrival = receiver.first("/erp").await;
    assert!(verified(&arrival, &text(&made, "secret")));
    let example = world.get("/api/v1/event-types/invoice.paid").await["example"].clone();
    assert_eq!(arrival.json()["payload"], example);
    receiver.always("/erp", waybill_tests::Reply::Status(418));
    assert_eq!(world.post(&path, &json!({})).await["status"], 418);
    assert_eq!(world.get("/api/v1/deliveries").await, json!([]), "nothing is stored");
}
