//! Method, path, query and body of an endpoint's requests, made from the event.

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, World};

use crate::support::{endpoint_with, problem, verified};

const DEAD: &str = "/api/v1/dead-letters";

fn lead(data: &Value) -> Value {
    json!({"type": "lead.updated", "source": "web", "resource_id": "17", "data": data})
}

fn crm(receiver: &Receiver, more: &Value) -> Value {
    let mut endpoint = endpoint_with("crm", &receiver.url("/api"), more);
    endpoint["events"] = json!(["lead.*"]);
    endpoint
}

#[rstest]
#[tokio::test]
async fn a_request_is_made_of_the_event_and_signed(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let made = world
        .endpoint(&crm(
            &receiver,
            &json!({
                "method": "PUT", "path": "/leads/{data.number}",
                "query": {"mail": "=data.email", "none": "=data.none", "via": "way bill"},
                "body": {
                    "full_name": "=data.name", "source": "web",
                    "total": "=double(data.total) * 2.0",
                    "tags": ["lead", "=type", "=id"], "all": "=data",
                },
                "field_map": {"exclude": ["secret"], "rename": {"no": "number"}},
            }),
        ))
        .await;
    let data = json!({"no": "a/b", "name": "Zoë", "email": "z@x.example", "total": "1.50",
                      "none": null, "secret": "hidden"});
    world.event(&lead(&data)).await;
    let path = "/api/leads/a%2Fb?mail=z%40x.example&via=way%20bill";
    let arrival = receiver.first(path).await;
    assert_eq!(arrival.method, "PUT");
    let wanted = r#"{"full_name":"Zoë","source":"web","total":3,"tags":["lead","lead.updated","17"],"all":{"number":"a/b","name":"Zoë","email":"z@x.example","total":"1.50","none":null}}"#;
    assert_eq!(String::from_utf8_lossy(&arrival.body), wanted);
    assert_eq!(arrival.header("content-type"), "application/json");
    assert!(verified(&arrival, &text(&made, "secret")));
    let id = arrival.header("webhook-id");
    let delivery = format!("/api/v1/deliveries/{id}");
    let found = world.eventually(&delivery, |found| found["status"] == "delivered").await;
    let told = text(&found["attempts"][0]["request_headers"], "(request)");
    let wanted = receiver.url("/api/leads/a%2Fb?mail=***&via=***");
    assert_eq!(told, format!("PUT {wanted}"));
}

#[rstest]
#[tokio::test]
async fn a_value_that_cannot_be_computed_is_a_dead_letter(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let body = json!({"lead": {"name": "=data.name", "mail": "=data.email"}});
    world.endpoint(&crm(&receiver, &json!({"body": body}))).await;
    world.event(&lead(&json!({"name": "A"}))).await;
    let letters = world.eventually(DEAD, |found| found[0].is_object()).await;
    let letter = world.get(&format!("{DEAD}/{}", text(&letters[0], "id"))).await;
    assert_eq!(letter["reason"], "template");
    let detail = text(&letter, "detail");
    assert!(
        detail.contains("`body.lead.mail` cannot be computed: no such key `email`"),
        "{detail}"
    );
    assert_eq!(letter["delivery"]["attempts"].as_array().unwrap().len(), 1, "{letter:#}");
    assert_eq!(letter["delivery"]["attempts"][0]["error_class"], "template");
    assert_eq!(receiver.count("/api"), 0);
    // A valid template restores it.
    let body =
        json!({"lead": {"name": "=data.name", "mail": "=has(data.email) ? data.email : null"}});
    let answer =
        world.client().patch("/api/v1/endpoints/crm", &json!({"body": body})).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.post(&format!("{DEAD}/{}/replay", text(&letters[0], "id")), &json!({})).await;
    let arrival = receiver.first("/api").await;
    assert_eq!(arrival.json(), json!({"lead": {"name": "A", "mail": null}}));
}

#[tokio::test]
async fn an_update_shows_what_changed_to_its_template() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"method": "PATCH", "path": "/{id}",
                      "body": {"changed": "=changed", "was": "=previous", "from": "=source"}});
    world.endpoint(&crm(&receiver, &more)).await;
    world.event(&lead(&json!({"name": "A"}))).await;
    let arrival = receiver.first("/api/17").await;
    assert_eq!(arrival.method, "PATCH");
    assert_eq!(arrival.json(), json!({"changed": [], "was": {}, "from": "web"}));
}

#[tokio::test]
async fn delete_has_a_body_only_by_a_template() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"method": "DELETE", "path": "/leads/{id}"});
    let made = world.endpoint(&crm(&receiver, &more)).await;
    world.event(&lead(&json!({}))).await;
    let arrival = receiver.first("/api/leads/17").await;
    assert_eq!((arrival.method.as_str(), &arrival.body[..]), ("DELETE", &b""[..]));
    assert_eq!(arrival.header("content-type"), "");
    assert!(verified(&arrival, &text(&made, "secret")));
    let change = json!({"body": {"why": "=type"}});
    let answer = world.client().patch("/api/v1/endpoints/crm", &change).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.event(&lead(&json!({}))).await;
    let arrivals = receiver.wait_for("/api/leads/17", 2).await;
    assert_eq!(arrivals[1].json(), json!({"why": "lead.updated"}));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_line_and_column() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    for (more, place, why) in [
        (
            json!({"body": {"a": [{"b": "=data.total >="}]}}),
            "body.a[0].b",
            "line 1, column 15, at the end: a value is missing",
        ),
        (json!({"query": {"q": "=dat.x"}}), "query.q", "line 1, column 2, at `dat.x`"),
        (json!({"path": "/x/{data.id"}), "path", "line 1, column 4"),
        (json!({"method": "GET"}), "method", "GET"),
        (json!({"body": {}, "envelope": "standard"}), "envelope", "takes the place"),
    ] {
        let answer =
            world.client().post("/api/v1/endpoints", &crm(&receiver, &more)).await.unwrap();
        let faults = problem(&answer, 422);
        assert_eq!(faults[0].0, place, "{faults:?}");
        assert!(faults[0].1.contains(why) || place == "method", "{faults:?}");
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_body_of_a_template() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&crm(&receiver, &json!({"events": [], "body": {"n": "=data.name"}}))).await;
    world.post("/api/v1/flows", &json!({"name": "f", "endpoints": ["crm"]})).await;
    let event = json!({"event": lead(&json!({"name": "A"}))});
    let dry = world.post("/api/v1/flows/f/run", &event).await;
    assert_eq!(dry["dispatches"][0]["body"], json!({"n": "A"}), "{dry:#}");
    assert_eq!(receiver.count("/api"), 0);
}
