//! The effects of the pages' buttons.

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

/// Starts a world in which this many deliveries to `erp` and one to `tax` died.
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

/// Returns the fields of the form that replays the matches, and the number on its button.
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
    assert_eq!(answer.header("location"), "/admin/dead-letters?endpoint=erp&begun=3#progress");
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
    let lead = [("event_type", "lead.created")];
    operator.submit("/admin/endpoints/erp/test", &lead).await;
    let arrivals = receiver.wait_for("/erp", 2).await;
    assert_eq!(arrivals[1].header("x-waybill-event"), "lead.created");
    operator.submit("/admin/endpoints/erp/pause", &[]).await;
    assert_eq!(world.get("/api/v1/endpoints/erp").await["enabled"], false);
    let page = operator.page("/admin/endpoints/erp").await;
    assert!(page.contains("Paused") && page.contains(">Resume<"), "{page}");
    assert!(page.contains("Events captured meanwhile are not delivered to it"), "{page}");
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

#[rstest]
#[tokio::test]
async fn a_dead_letter_is_replayed_with_other_data(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = with_dead(backend, 1).await else { return };
    let letter = world.get(&format!("{DEAD}?endpoint=erp")).await[0].clone();
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let path = format!("/admin/dead-letters/{}", text(&letter, "id"));
    assert!(operator.page(&path).await.contains("Replay with other data"));
    let edit = format!("{path}/edit");
    let answer = operator.submit(&edit, &[("data", "{<not json")]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text();
    assert!(page.contains("is not JSON") && page.contains("{&lt;not json"), "{page}");
    receiver.always("/erp", Reply::Status(200));
    let answer = operator.submit(&edit, &[("data", "{\"id\": 7, \"total\": \"mended\"}")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let arrivals = receiver.wait_for("/erp", 3).await;
    let last = arrivals.last().unwrap();
    assert_eq!(last.header("webhook-id"), text(&letter, "delivery_id"));
    assert_eq!(last.json()["payload"], json!({"id": 7, "total": "mended"}));
    let event = world.get(&format!("/api/v1/events/{}", text(&letter, "event_id"))).await;
    assert_eq!(event["data"]["id"], 0, "the event stays as it was captured");
    world
        .eventually(&format!("{DEAD}?endpoint=erp"), |found| found.as_array().unwrap().is_empty())
        .await;
    let replayer = json!({"name": "mara", "scopes": ["deliveries:replay"], "rate": 1000});
    let token = crate::support::token(&world, &replayer).await;
    let tax = text(&world.get(&format!("{DEAD}?endpoint=tax")).await[0], "id");
    let client = world.client_with(Some(&token));
    let answer = client.post(&format!("{DEAD}/{tax}/replay"), &json!({"data": {}})).await.unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
}
