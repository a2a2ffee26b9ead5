//! Capture: the events that `POST /api/v1/events` accepts, refuses and recognises.

mod cloudevents;
mod repeats;

use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::rest::Call;
use waybill_tests::world::text;

use crate::support::{invoice, problem, texts};

const EVENTS: &str = "/api/v1/events";

#[rstest]
#[tokio::test]
async fn one_event_is_acknowledged_and_can_be_read(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let body = r#"{"type":"invoice.paid","resource_id":"17","occurred_at":"2026-03-01T10:00:00Z","data":{"b": 1.50, "a":[12345678901234567890]}}"#;
    let answer = world.client().send(Call::post(EVENTS, "application/json", body)).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let receipt = answer.data();
    assert_eq!(receipt["duplicate"], false);
    let id = text(&receipt, "id");
    assert!(id.starts_with("evt_"), "{id}");

    let answer = world.client().get(&format!("{EVENTS}/{id}")).await.unwrap();
    let event = answer.data();
    assert_eq!(event["type"], "invoice.paid");
    assert_eq!(event["resource"], "invoice");
    assert_eq!(event["resource_id"], "17");
    assert_eq!(event["occurred_at"], "2026-03-01T10:00:00.000Z");
    let kept = r#""data":{"b": 1.50, "a":[12345678901234567890]}"#;
    assert!(answer.text().contains(kept), "the data stay as they came: {}", answer.text());
}

#[rstest]
#[tokio::test]
async fn an_array_is_answered_in_order(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let events: Vec<Value> = (0..1000).map(invoice).collect();
    let answer = world.client().post(EVENTS, &json!(events)).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let ids = texts(&answer.data(), "id");
    assert_eq!(ids.len(), 1000);
    for n in [0, 1, 499, 999] {
        let event = world.get(&format!("{EVENTS}/{}", ids[n])).await;
        assert_eq!(event["resource_id"], n.to_string());
    }
    let one_more: Vec<Value> = (0..1001).map(invoice).collect();
    let answer = world.client().post(EVENTS, &json!(one_more)).await.unwrap();
    let errors = problem(&answer, 422);
    assert!(errors[0].1.contains("1001") && errors[0].1.contains("1000"), "{errors:?}");
}

#[rstest]
#[tokio::test]
async fn an_array_with_one_bad_event_is_refused_whole(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let events = json!([invoice(1), {"type": "nodots", "data": {}}, {"type": "a.b"}]);
    let answer = world.client().post(EVENTS, &events).await.unwrap();
    let paths: Vec<String> = problem(&answer, 422).into_iter().map(|(path, _)| path).collect();
    assert!(!paths.is_empty());
    assert!(paths.iter().all(|path| path.contains('1') || path.contains('2')), "{paths:?}");
    assert_eq!(world.get(EVENTS).await, json!([]), "nothing of it is stored");
}

#[tokio::test]
async fn times_are_taken_as_clients_write_them() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.event(&invoice(1)).await;
    for (query, found) in [
        ("since=2020-01-01T02:00:00%2B02:00", 1),
        ("since=2020-01-01T02:00:00+02:00", 1),
        ("since=2020-01-01T00:00:00.123456Z", 1),
        ("since=1577836800", 1),
        ("since=1577836800.25", 1),
        ("since=9999-12-31T23:59:59.999Z", 0),
        ("until=9999-12-31T23:59:59Z", 1),
        ("until=2020-01-01", 0),
    ] {
        for path in [EVENTS, "/api/v1/deliveries", "/api/v1/dead-letters", "/api/v1/audit"] {
            let answer = world.client().get(&format!("{path}?{query}")).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{path} {query}: {}", answer.text());
            if path == EVENTS {
                assert_eq!(answer.data().as_array().unwrap().len(), found, "{query}");
            }
        }
    }
    let never = json!({"type": "a.b", "data": {}, "occurred_at": "9999-12-31T23:59:59Z"});
    let id = world.event(&never).await;
    let event = world.get(&format!("{EVENTS}/{id}")).await;
    assert_eq!(event["occurred_at"], "9999-12-31T23:59:59.000Z");
    let token = json!({"name": "t", "scopes": ["admin"], "expires_at": "9999-12-31T23:59:59Z"});
    let token = world.post("/api/v1/tokens", &token).await;
    assert_eq!(token["expires_at"], "9999-12-31T23:59:59.000Z");
    let late = json!({"type": "a.b", "data": {}, "occurred_at": "10000-01-01T00:00:00Z"});
    problem(&world.client().post(EVENTS, &late).await.unwrap(), 422);
}

#[rstest]
#[case::no_json("{\"type\":\n \"a.b\",", 400, "")]
#[case::not_utf8_text("\u{0}", 400, "")]
#[case::no_object("7", 422, "")]
#[case::empty_array("[]", 422, "")]
#[case::no_type(r#"{"data":{}}"#, 422, "type")]
#[case::no_dotted_name(r#"{"type":"paid","data":{}}"#, 422, "type")]
#[case::spaces_in_the_type(r#"{"type":"invoice. paid","data":{}}"#, 422, "type")]
#[case::a_number_for_a_type(r#"{"type":5,"data":{}}"#, 422, "type")]
#[case::no_data(r#"{"type":"a.b"}"#, 422, "data")]
#[case::an_object_for_an_id(r#"{"type":"a.b","data":{},"id":{}}"#, 422, "id")]
#[case::no_time(r#"{"type":"a.b","data":{},"occurred_at":"yesterday"}"#, 422, "occurred_at")]
#[case::no_utc_offset(
    r#"{"type":"a.b","data":{},"occurred_at":"2026-03-01T10:00:00"}"#,
    422,
    "occurred_at"
)]
#[tokio::test]
async fn bad_input_is_told_what_and_where(
    #[case] body: &str,
    #[case] status: u16,
    #[case] path: &str,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let call = Call::post(EVENTS, "application/json", body.to_owned());
    let answer = world.client().send(call).await.unwrap();
    let errors = problem(&answer, status);
    if status == 422 {
        assert_eq!(errors.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), [path]);
    } else {
        assert!(answer.json()["detail"].as_str().unwrap().contains("line"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_it_is_taken() {
    let Some(world) = World::start(Sqlite).await else { return };
    let frame = r#"{"type":"a.b","data":""}"#;
    let fill = |size: usize| {
        let text = "x".repeat(size - frame.len());
        frame.replace(r#""""#, &format!("\"{text}\""))
    };
    let limit = 1024 * 1024;
    for (size, status) in [(limit, 202), (limit + 1, 413)] {
        let call = Call::post(EVENTS, "application/json", fill(size));
        let answer = world.client().send(call).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{size}: {}", answer.text());
        if status == 413 {
            problem(&answer, 413);
        }
    }
}

#[tokio::test]
async fn a_content_type_that_cannot_be_read_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let call = Call::post(EVENTS, "text/csv", "a,b");
    problem(&world.client().send(call).await.unwrap(), 415);
}

#[tokio::test]
async fn nobody_captures_without_a_token() {
    let Some(world) = World::start(Sqlite).await else { return };
    for client in [world.client_with(None), world.client_with(Some("wrong"))] {
        let answer = client.post(EVENTS, &invoice(1)).await.unwrap();
        problem(&answer, 401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        problem(&client.get(EVENTS).await.unwrap(), 401);
    }
    let key = Call::new(Method::GET, "/api/v1/auth/test")
        .header("X-API-KEY", waybill_tests::server::ADMIN_TOKEN);
    let answer = world.client_with(None).send(key).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.json()["status"], true);
    assert_eq!(answer.data()["authenticated"], true);
    for key in ["token_name", "scopes", "tables_count", "server_time"] {
        assert!(!answer.data()[key].is_null(), "{key}: {}", answer.text());
    }
}

#[rstest]
#[tokio::test]
async fn events_are_listed_newest_first_by_filter_and_page(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    for n in 0..7 {
        world.event(&invoice(n)).await;
    }
    world.event(&json!({"type": "lead.created", "source": "form", "data": {"id": 3}})).await;
    let numbers = |list: &Value| texts(list, "resource_id").join(" ");
    let listed = world.get(&format!("{EVENTS}?type=invoice.paid")).await;
    assert_eq!(numbers(&listed), "6 5 4 3 2 1 0");
    let one = world.get(&format!("{EVENTS}?resource=invoice&resource_id=3")).await;
    assert_eq!(numbers(&one), "3");
    assert_eq!(world.get(&format!("{EVENTS}?source=form")).await.as_array().unwrap().len(), 1);

    let mut seen = Vec::new();
    let mut page = format!("{EVENTS}?type=invoice.paid&limit=3");
    loop {
        let answer = world.client().get(&page).await.unwrap();
        seen.push(numbers(&answer.data()));
        let Some(cursor) = answer.json()["meta"]["next_cursor"].as_str().map(str::to_owned) else {
            break;
        };
        page = format!("{EVENTS}?type=invoice.paid&limit=3&cursor={cursor}");
    }
    assert_eq!(seen, ["6 5 4", "3 2 1", "0"]);
    for query in ["limit=0", "limit=201", "limit=x", "cursor=no", "since=yesterday", "colour=red"] {
        let answer = world.client().get(&format!("{EVENTS}?{query}")).await.unwrap();
        assert!(!problem(&answer, 422).is_empty(), "{query}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let Some(world) = World::start(Sqlite).await else { return };
    for path in ["/api/v1/events/evt_x", "/api/v1/nothing", "/nothing"] {
        problem(&world.client().get(path).await.unwrap(), 404);
    }
    problem(&world.client().delete(EVENTS).await.unwrap(), 405);
}

/// Programs that cut a text within a character send half of it. JSON parsers disagree about such
/// texts.
#[rstest]
#[tokio::test]
async fn a_lone_surrogate_is_replaced_in_names_and_values(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = waybill_tests::Receiver::start().await;
    let map = json!({"field_map": {"include": ["id", "total", "note"]}});
    world.endpoint(&crate::support::endpoint_with("a", &receiver.url("/a"), &map)).await;
    let open = json!({"name": "open", "kind": "webhook", "webhook": {"scheme": "none"}});
    world.post("/api/v1/sources", &open).await;
    let data = r#"{"id":"82","k\udc00":1,"total":"1.00","note":"\ud83d \ud83d\ude00"}"#;
    let plain = format!(r#"{{"type":"invoice.created","data":{data},"x\udc00":1}}"#);
    let cloud = format!(
        r#"{{"specversion":"1.0","type":"invoice.created","source":"api","id":"1","data":{data}}}"#
    );
    let binary = Call::post(EVENTS, "application/json", data)
        .header("ce-specversion", "1.0")
        .header("ce-type", "invoice.created")
        .header("ce-source", "api")
        .header("ce-id", "2");
    let hook = format!(r#"{{"event":"invoice_created","payload":{data}}}"#);
    for call in [
        Call::post(EVENTS, "application/json", plain),
        Call::post(EVENTS, "application/cloudevents+json", cloud),
        binary,
        Call::post("/in/open", "application/json", hook),
    ] {
        let answer = world.client().send(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let event = world.get(&format!("{EVENTS}/{}", text(&answer.data(), "id"))).await;
        assert_eq!(event["resource_id"], "82");
        let kept =
            json!({"id": "82", "k\u{fffd}": 1, "total": "1.00", "note": "\u{fffd} \u{1f600}"});
        assert_eq!(event["data"], kept);
    }
    for arrival in receiver.wait_for("/a", 4).await {
        let payload = json!({"id": "82", "total": "1.00", "note": "\u{fffd} \u{1f600}"});
        assert_eq!(arrival.json()["payload"], payload);
    }
    assert_eq!(world.get("/api/v1/invoices/82?source=api").await["total"], "1.00");
}
