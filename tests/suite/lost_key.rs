//! A key that was lost or changed: the server starts, reports what must be entered again, and
//! continues with everything else.

use crate::support::{assert_problem, endpoint_with, hex_signature, invoice, merged, rotate_key};
use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::{Receiver, World};

const FIRST: &str = "the-first-key-0123456789";
const SECOND: &str = "the-second-key-0123456789";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test]
async fn a_changed_key_locks_what_it_cannot_read_and_nothing_else() {
    for backend in [Sqlite, Postgres] {
        let started = World::start_with(backend, |settings| {
            settings.environment("WAYBILL_SECRET_KEY", FIRST);
        });
        let Some(mut world) = started.await else { return };
        let receiver = Receiver::start().await;
        let headers = json!({"headers": {"authorization": "Bearer abcdef"}});
        let old = endpoint_with("old", &receiver.url("/old"), &headers);
        world.endpoint(&old).await;
        let shop = json!({"name": "shop", "kind": "webhook", "webhook": {"scheme": "github"}});
        world.post("/api/v1/sources", &shop).await;
        world.restart_with(|settings| {
            settings.environment("WAYBILL_SECRET_KEY", SECOND);
        });
        for name in ["old", "shop"] {
            world.server().wait_for_line(&[name, "enter them again"]).unwrap();
        }
        // Objects stored with this key, and objects without secrets, continue to work.
        world.endpoint(&endpoint_with("new", &receiver.url("/new"), &json!({}))).await;
        world.event(&invoice(1)).await;
        receiver.first("/new").await;
        let waiting = world.get("/api/v1/deliveries?endpoint=old").await;
        assert_eq!(waiting[0]["status"], "pending", "{waiting:#}");
        assert!(world.get("/api/v1/endpoints/old").await["warning"].is_string());
        let answer = world.client_with(None).post("/in/shop", &json!({"a": 1})).await.unwrap();
        assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE, "cannot be read");
        refuses_half_a_repair(&world).await;
        // After its secrets are entered again, it sends the waiting deliveries with the new secret
        // and header.
        let given = json!({"secret": SECRET, "headers": {"authorization": "Bearer uvwxyz"}});
        let answer = world.client().patch("/api/v1/endpoints/old", &given).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let arrival = receiver.first("/old").await;
        assert_eq!(arrival.header("authorization"), "Bearer uvwxyz");
        assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, SECRET));
        assert_eq!(receiver.count("/old"), 1);
    }
}

/// A change that does not enter the stored values again does not lose them.
async fn refuses_half_a_repair(world: &World) {
    let client = world.client();
    for (change, missing) in [
        (json!({"enabled": false}), "headers.authorization"),
        (json!({"secret": SECRET}), "headers.authorization"),
        (json!({"headers": {"authorization": "Bearer uvwxyz"}}), "secret"),
    ] {
        let answer = client.patch("/api/v1/endpoints/old", &change).await.unwrap();
        assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, missing);
    }
    for path in ["/api/v1/endpoints/old/test", "/api/v1/endpoints/old/rotate-secret"] {
        let answer = client.post(path, &json!({})).await.unwrap();
        assert_problem(&answer, StatusCode::CONFLICT, "cannot be read");
    }
    let answer = client.patch("/api/v1/sources/shop", &json!({"strict": true})).await.unwrap();
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "secret");
    for path in ["/api/v1/sources/shop/pause", "/api/v1/sources/shop/rotate-secret"] {
        let answer = client.post(path, &json!({})).await.unwrap();
        assert_problem(&answer, StatusCode::CONFLICT, "cannot be read");
    }
}

#[tokio::test]
async fn the_right_key_opens_everything_again() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let made = world
        .endpoint(&endpoint_with("erp", &receiver.url("/erp"), &json!({"secret": SECRET})))
        .await;
    world.stop();
    let (key, kept) = (world.folder().join("waybill.key"), world.folder().join("kept.key"));
    std::fs::rename(&key, &kept).unwrap();
    world.restart();
    world.event(&invoice(1)).await;
    let found = world.get("/api/v1/endpoints/erp").await;
    let hidden = json!({"secret": null, "warning": null, "health": null});
    let without = |value: &Value| merged(value.clone(), &hidden);
    assert_eq!(without(&found), without(&made));
    world.stop();
    std::fs::rename(&kept, &key).unwrap();
    world.restart();
    let arrival = receiver.first("/erp").await;
    assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, SECRET));
}

#[tokio::test]
async fn a_key_in_a_file_is_changed_while_the_server_does_not_run() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &json!({"secret": SECRET}))).await;
    let refused = rotate_key(world.settings()).unwrap_err();
    assert!(refused.contains("in use"), "{refused}");
    world.stop();
    let file = |name: &str| std::fs::read(world.folder().join(name)).ok();
    let before = file("waybill.key");
    let changed = rotate_key(world.settings()).unwrap();
    assert!(changed.contains("\"objects\": 1"), "{changed}");
    assert_eq!(file("waybill.key.old"), before);
    assert!(file("waybill.key").is_some_and(|key| Some(key) != before));
    assert!(file("waybill.key.next").is_none());
    world.restart();
    world.event(&invoice(1)).await;
    let arrival = receiver.first("/erp").await;
    assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, SECRET));
}
