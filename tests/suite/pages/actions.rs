//! What the buttons of the pages do.

use super::{Operator, hidden_value};
use crate::support::{endpoint_with, invoice};
use bytes::Bytes;
use hyper::StatusCode;
use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{guest, text};
use waybill_tests::{Receiver, Reply, World};

const DEAD: &str = "/api/v1/dead-letters";

/// A world where this many deliveries to `erp` and one to `tax` died.
async fn with_dead(backend: Backend, count: u32) -> Option<(World, Receiver)> {
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    receiver.always("/erp", Reply::Status(500));
    receiver.always("/tax", Reply::Status(422));
    let short = json!({"retry": {"schedule": ["20ms"]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &short)).await;
    for n in 0..count {
        world.event(&invoice(n)).await;
    }
    let leads = json!({"retry": {"schedule": ["20ms"]}, "events": ["lead.*"]});
    world.endpoint(&endpoint_with("tax", &receiver.url("/tax"), &leads)).await;
    world.event(&json!({"type": "lead.created", "data": {"id": 1}})).await;
    let all = count as usize + 1;
    world.eventually(DEAD, |found| found.as_array().unwrap().len() == all).await;
    Some((world, receiver))
}

/// The fields of the form that replays what matches, and the number on its button.
fn preview(page: &str) -> (Vec<(&'static str, String)>, String) {
    let form = page.split("action=\"/admin/dead-letters/replay\"").nth(1).unwrap();
    let names = ["form_key", "endpoint", "kind", "reason", "until", "count"];
    let fields = names.map(|name| (name, hidden_value(form, name)));
    let button = form.split("Replay ").nth(1).unwrap().split('<').next().unwrap();
    (fields.to_vec(), button.to_owned())
}

fn borrow<'f>(fields: &'f [(&'static str, String)]) -> Vec<(&'static str, &'f str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[rstest]
#[tokio::test]
async fn the_count_on_the_button_is_the_count_that_is_replayed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, receiver)) = with_dead(backend, 3).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let (_, all) = preview(&operator.page("/admin/dead-letters").await);
    assert_eq!(all, "4");
    let (fields, button) = preview(&operator.page("/admin/dead-letters?endpoint=erp").await);
    assert_eq!(button, "3");
    receiver.always("/erp", Reply::Status(200));
    receiver.always("/tax", Reply::Status(200));
    let answer = operator.submit("/admin/dead-letters/replay", &borrow(&fields)).await;
    assert_eq!(answer.header("location"), "/admin/dead-letters?endpoint=erp");
    let page = operator.page("/admin/dead-letters?endpoint=erp").await;
    assert!(page.contains("3 replays have begun"), "{page}");
    let left = world.eventually(DEAD, |found| found.as_array().unwrap().len() == 1).await;
    assert_eq!(left[0]["endpoint"], "tax");
    assert_eq!(receiver.count("/tax"), 2, "nothing else was sent again");
}

#[tokio::test]
async fn a_count_that_is_not_true_any_more_replays_nothing() {
    let Some((world, receiver)) = with_dead(Sqlite, 3).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let (fields, button) = preview(&operator.page("/admin/dead-letters?endpoint=erp").await);
    assert_eq!(button, "3");
    let letter = text(&world.get(&format!("{DEAD}?endpoint=erp")).await[0], "id");
    world.client().delete(&format!("{DEAD}/{letter}")).await.unwrap();
    let sent = receiver.count("/erp");
    operator.submit("/admin/dead-letters/replay", &borrow(&fields)).await;
    let page = operator.page("/admin/dead-letters?endpoint=erp").await;
    assert!(page.contains("Nothing was replayed: 3 matched"), "{page}");
    assert_eq!(receiver.count("/erp"), sent);
}

#[tokio::test]
async fn what_cannot_be_replayed_is_not_on_the_button() {
    let Some((world, _receiver)) = with_dead(Sqlite, 3).await else { return };
    world.client().delete("/api/v1/endpoints/tax").await.unwrap();
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/dead-letters").await;
    assert_eq!(preview(&page).1, "3");
    assert!(page.contains("4 dead letters match") && page.contains("cannot be replayed"), "{page}");
}

#[tokio::test]
async fn one_dead_letter_is_replayed_and_another_deleted() {
    let Some((world, receiver)) = with_dead(Sqlite, 1).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let id = |letters: &serde_json::Value| text(&letters[0], "id");
    let erp = id(&world.get(&format!("{DEAD}?endpoint=erp")).await);
    let tax = id(&world.get(&format!("{DEAD}?endpoint=tax")).await);
    operator.submit(&format!("/admin/dead-letters/{tax}/delete"), &[]).await;
    assert_eq!(world.get(DEAD).await.as_array().unwrap().len(), 1);
    receiver.always("/erp", Reply::Status(200));
    operator.submit(&format!("/admin/dead-letters/{erp}/replay"), &[]).await;
    world.eventually(DEAD, |found| found.as_array().unwrap().is_empty()).await;
}

#[tokio::test]
async fn an_endpoint_is_tested_paused_and_resumed() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &json!({}))).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let answer = operator.submit("/admin/endpoints/erp/test", &[]).await;
    assert_eq!(answer.header("location"), "/admin/endpoints/erp");
    let page = operator.page("/admin/endpoints/erp").await;
    assert!(page.contains("The test was answered 200"), "{page}");
    assert!(!operator.page("/admin/endpoints/erp").await.contains("The test was"), "said once");
    operator.submit("/admin/endpoints/erp/pause", &[]).await;
    assert_eq!(world.get("/api/v1/endpoints/erp").await["enabled"], false);
    let page = operator.page("/admin/endpoints/erp").await;
    assert!(page.contains("Paused") && page.contains(">Resume<"), "{page}");
    world.event(&invoice(1)).await;
    operator.submit("/admin/endpoints/erp/cancel", &[]).await;
    operator.submit("/admin/endpoints/erp/resume", &[]).await;
    assert_eq!(world.get("/api/v1/endpoints/erp").await["enabled"], true);
}

#[tokio::test]
async fn an_event_and_a_delivery_are_sent_again() {
    let Some((world, receiver)) = with_dead(Sqlite, 1).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let letter = world.get(&format!("{DEAD}?endpoint=erp")).await[0].clone();
    receiver.always("/erp", Reply::Status(200));
    let delivery = text(&letter, "delivery_id");
    operator.submit(&format!("/admin/deliveries/{delivery}/replay"), &[]).await;
    let arrivals = receiver.wait_for("/erp", 3).await;
    assert_eq!(arrivals[2].header("webhook-id"), delivery);
    let event = text(&letter, "event_id");
    operator.submit(&format!("/admin/events/{event}/replay"), &[]).await;
    let arrivals = receiver.wait_for("/erp", 4).await;
    assert_ne!(arrivals[3].header("webhook-id"), delivery);
}

#[tokio::test]
async fn a_module_is_uploaded_and_activated() {
    let (Some(world), Some(wasm)) = (World::start(Sqlite).await, guest("hot-leads")) else {
        return;
    };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let key = hidden_value(&operator.page("/admin/modules").await, "form_key");
    let upload = |key: &str, wasm: &[u8]| {
        let mut body = Vec::new();
        for (name, value) in [("form_key", key), ("name", "hot-leads")] {
            let part = format!(
                "--cut\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        }
        body.extend_from_slice(b"--cut\r\nContent-Disposition: form-data; name=\"component\"; filename=\"m.wasm\"\r\nContent-Type: application/wasm\r\n\r\n");
        body.extend_from_slice(wasm);
        body.extend_from_slice(b"\r\n--cut--\r\n");
        Call::post("/admin/module-upload", "multipart/form-data; boundary=cut", Bytes::from(body))
    };
    let answer = operator.send(upload("wrong", &wasm)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let answer = operator.send(upload(&key, b"not a component")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = operator.send(upload(&key, &wasm)).await;
    assert_eq!(answer.header("location"), "/admin/modules/hot%2Dleads", "{}", answer.text());
    let page = operator.page("/admin/modules/hot-leads").await;
    assert!(page.contains("v1 was uploaded") && page.contains("Activate it"), "{page}");
    operator.submit("/admin/modules/hot-leads/versions/1/activate", &[]).await;
    assert_eq!(world.get("/api/v1/modules/hot-leads").await[0]["active"], true);
}

#[tokio::test]
async fn a_token_is_made_shown_once_and_revoked() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let fields = [("name", "mara"), ("scope", "events:read"), ("scope", "flows:read")];
    let answer = operator.submit("/admin/token-create", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let page = answer.text();
    let token = page.split("aria-label=\"The token\">").last().unwrap().split('<').next().unwrap();
    let mara = Operator::sign_in(&world, token).await;
    mara.page("/admin/events").await;
    assert!(!operator.page("/admin/tokens/mara").await.contains(token));
    operator.submit("/admin/tokens/mara/revoke", &[]).await;
    assert_eq!(mara.ask("/admin/events").await.status, StatusCode::SEE_OTHER);
    let answer = operator.submit("/admin/tokens/admin/revoke", &[]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "the own token stays");
}

#[tokio::test]
async fn sources_and_flows_are_paused_and_resumed() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&endpoint_with("erp", "http://127.0.0.1:9/", &json!({}))).await;
    world.post("/api/v1/flows", &json!({"name": "books", "endpoints": ["erp"]})).await;
    let source = json!({"name": "clock", "kind": "schedule", "schedule": {"cron": "0 0 1 1 *"}});
    world.post("/api/v1/sources", &source).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    for (page, rest) in [("flows/books", "flows/books"), ("sources/clock", "sources/clock")] {
        for (action, enabled) in [("pause", false), ("resume", true)] {
            operator.submit(&format!("/admin/{page}/{action}"), &[]).await;
            let found = world.get(&format!("/api/v1/{rest}")).await;
            assert_eq!(found["enabled"], enabled, "{page} {action}");
        }
    }
}
