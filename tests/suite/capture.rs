//! Capture: the events that `POST /api/v1/events` accepts, refuses and recognises.

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
async fn cloudevents_are_taken_in_all_three_modes() {
    let Some(world) = World::start(Sqlite).await else { return };
    let event = |id: &str| {
        json!({"specversion": "1.0", "type": "invoice.paid", "source": "/crm", "id": id,
               "subject": "17", "data": {"total": "1.00"}})
    };
    let structured = Call::post(EVENTS, "application/cloudevents+json", event("A1").to_string());
    let batched = Call::post(
        EVENTS,
        "application/cloudevents-batch+json",
        json!([event("A2"), event("A1")]).to_string(),
    );
    let binary = Call::post(EVENTS, "application/json", r#"{"total":"1.00"}"#)
        .header("ce-specversion", "1.0")
        .header("ce-type", "invoice.paid")
        .header("ce-source", "/crm")
        .header("ce-id", "A3")
        .header("ce-subject", "17");
    let one = world.client().send(structured).await.unwrap().data();
    let two = world.client().send(batched).await.unwrap().data();
    let three = world.client().send(binary).await.unwrap().data();
    assert_eq!(two[0]["duplicate"], false);
    assert_eq!(two[1], json!({"id": one["id"], "duplicate": true}), "one id, one event");
    for id in [&one["id"], &two[0]["id"], &three["id"]] {
        let event = world.get(&format!("{EVENTS}/{}", id.as_str().unwrap())).await;
        assert_eq!(event["type"], "invoice.paid");
        assert_eq!(event["source"], "/crm");
        assert_eq!(event["resource_id"], "17");
        assert_eq!(event["data"], json!({"total": "1.00"}));
    }
}

#[rstest]
#[tokio::test]
async fn a_repeat_is_answered_with_the_first_and_causes_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(mut world) = World::start(backend).await else { return };
    let receiver = waybill_tests::Receiver::start().await;
    world.endpoint(&crate::support::endpoint("a", &receiver.url("/a"))).await;
    let event = |id: &str, source: &str| json!({"type": "invoice.paid", "id": id, "source": source, "data": {"id": 1}});
    let first = world.post(EVENTS, &event("x", "one")).await;
    world.restart();
    let again = world.post(EVENTS, &event("x", "one")).await;
    assert_eq!(again, json!({"id": first["id"], "duplicate": true}));
    let elsewhere = world.post(EVENTS, &event("x", "two")).await;
    assert_eq!(elsewhere["duplicate"], false, "an id is its source's own");
    let other = world.post(EVENTS, &event("y", "one")).await;
    assert_eq!(other["duplicate"], false);

    receiver.wait_for("/a", 3).await;
    let first = text(&first, "id");
    let trace = world.get(&format!("{EVENTS}/{first}")).await;
    assert_eq!(trace["deliveries"].as_array().unwrap().len(), 1, "{trace:#}");
    assert_eq!(world.get("/api/v1/deliveries").await.as_array().unwrap().len(), 3);
}

#[rstest]
#[tokio::test]
async fn an_idempotency_key_makes_a_request_repeatable(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let call = |key: &str, body: &Value| {
        Call::post(EVENTS, "application/json", body.to_string()).header("Idempotency-Key", key)
    };
    let body = json!([invoice(1), invoice(2)]);
    let first = world.client().send(call("k1", &body)).await.unwrap().data();
    let again = world.client().send(call("k1", &body)).await.unwrap().data();
    assert_eq!(texts(&first, "id"), texts(&again, "id"));
    assert!(again.as_array().unwrap().iter().all(|one| one["duplicate"] == true), "{again:#}");
    let other = world.client().send(call("k2", &body)).await.unwrap().data();
    assert!(other.as_array().unwrap().iter().all(|one| one["duplicate"] == false), "{other:#}");
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 4);
}

/// The same key with another request is a mistake of the client
/// (draft-ietf-httpapi-idempotency-key-header, 2.7): if it were answered as a repeat, the second
/// event would be lost.
#[rstest]
#[tokio::test]
async fn an_idempotency_key_is_bound_to_its_request(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut world) = World::start(backend).await else { return };
    let call = |key: &str, body: &Value| {
        Call::post(EVENTS, "application/json", body.to_string()).header("Idempotency-Key", key)
    };
    let (one, two) = (invoice(1), invoice(2));
    let first = world.client().send(call("key-1", &one)).await.unwrap().data();
    world.restart();
    for other in [two.clone(), json!([one]), json!([one, two]), json!([two, one, two])] {
        let answer = world.client().send(call("key-1", &other)).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, "Idempotency-Key", "{other}");
    }
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 1, "nothing half done");
    let again = world.client().send(call("key-1", &one)).await.unwrap().data();
    assert_eq!(again, json!({"id": first["id"], "duplicate": true}));

    // A second event of an array differs from a key that looks like it.
    world.client().send(call("k", &json!([one, two]))).await.unwrap();
    let looks_like_it = world.client().send(call("1 k", &one)).await.unwrap();
    assert_eq!(looks_like_it.data()["duplicate"], false, "{}", looks_like_it.text());

    // The attributes of CloudEvents in headers belong to the request.
    let binary = |event_type: &str| {
        let headers = [("ce-specversion", "1.0"), ("ce-source", "/p"), ("ce-type", event_type)];
        let call = call("ce", &json!({"n": 1})).header("ce-id", event_type);
        headers.into_iter().fold(call, |call, (name, value)| call.header(name, value))
    };
    assert_eq!(world.client().send(binary("a.b")).await.unwrap().data()["duplicate"], false);
    problem(&world.client().send(binary("a.c")).await.unwrap(), 422);

    // A repeat by its own id binds the key too.
    let known = json!({"type": "a.b", "id": "x", "data": {}});
    world.event(&known).await;
    assert_eq!(world.client().send(call("k3", &known)).await.unwrap().data()["duplicate"], true);
    problem(&world.client().send(call("k3", &two)).await.unwrap(), 422);
}

#[rstest]
#[tokio::test]
async fn of_different_requests_at_once_under_one_key_one_is_taken(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let posts = (0..16).map(|n| {
        let body = json!([invoice(n), invoice(n)]).to_string();
        let call = Call::post(EVENTS, "application/json", body).header("Idempotency-Key", "k");
        world.client().send(call)
    });
    let answers = futures_util::future::join_all(posts).await;
    let statuses: Vec<u16> = answers.iter().map(|a| a.as_ref().unwrap().status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 15, "{statuses:?}");
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 2, "no request is half done");
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
#[tokio::test]
async fn of_many_repeats_at_once_one_is_the_first(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let event = json!({"type": "invoice.paid", "id": "same", "data": {}});
    let posts = (0..32).map(|_| world.client().post(EVENTS, &event));
    let receipts: Vec<Value> = futures_util::future::join_all(posts)
        .await
        .into_iter()
        .map(|a| a.unwrap().data())
        .collect();
    let firsts = receipts.iter().filter(|receipt| receipt["duplicate"] == false).count();
    assert_eq!(firsts, 1, "{receipts:#?}");
    assert!(receipts.iter().all(|receipt| receipt["id"] == receipts[0]["id"]));
    assert_eq!(world.get(EVENTS).await.as_array().unwrap().len(), 1);
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

#[rstest]
#[tokio::test]
async fn a_cloudevent_is_relayed_as_it_came(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = waybill_tests::Receiver::start().await;
    for envelope in ["cloudevents", "cloudevents-binary", "raw", "default"] {
        let url = receiver.url(&format!("/{envelope}"));
        let settings = json!({"name": envelope, "url": url, "events": ["*"], "envelope": envelope});
        world.endpoint(&settings).await;
    }
    let bytes = json!({
        "specversion": "1.0", "type": "https://x.example/made#now", "source": "/p", "id": "1",
        "subject": "a/b/c", "datacontenttype": "application/octet-stream", "tenant": "acme",
        "dataschema": "https://x.example/s", "data_base64": "AQIDBA==",
    });
    let call = Call::post(EVENTS, "application/cloudevents+json", bytes.to_string());
    let answer = world.client().send(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());

    let relayed = receiver.first("/cloudevents").await.json();
    for name in
        ["type", "source", "subject", "datacontenttype", "dataschema", "data_base64", "tenant"]
    {
        assert_eq!(relayed[name], bytes[name], "{name}: {relayed}");
    }
    assert_eq!(relayed["data"], Value::Null);
    assert_eq!(relayed["datacontentencoding"], Value::Null, "ours alone");
    let binary = receiver.first("/cloudevents-binary").await;
    assert_eq!(binary.body.as_ref(), [1, 2, 3, 4]);
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("ce-type", "https://x.example/made#now"),
        ("ce-subject", "a/b/c"),
        ("ce-dataschema", "https://x.example/s"),
        ("ce-tenant", "acme"),
    ] {
        assert_eq!(binary.header(name), value, "{name}");
    }
    let raw = receiver.first("/raw").await;
    assert_eq!(raw.body.as_ref(), [1, 2, 3, 4]);
    assert_eq!(raw.header("content-type"), "application/octet-stream");
    let plain = receiver.first("/default").await.json();
    assert_eq!(
        (&plain["payload"], &plain["event"]),
        (&json!("AQIDBA=="), &json!("x.example.made.now"))
    );
    assert_eq!((&plain["resource"], &plain["resource_id"]), (&json!("a"), &json!("b/c")));
}

#[tokio::test]
async fn binary_mode_takes_any_bytes_and_quoted_headers() {
    let Some(world) = World::start(Sqlite).await else { return };
    let send = async |id: &str, content_type: Option<&str>, body: &'static [u8]| {
        let call = match content_type {
            Some(content_type) => Call::post(EVENTS, content_type, body),
            None => Call::untyped(Method::POST, EVENTS, body),
        };
        let call = call
            .header("ce-specversion", "1.0")
            .header("ce-type", "a.b")
            .header("ce-source", "/p")
            .header("ce-id", id)
            .header("ce-comment", r#""say \"hi\"%20there""#);
        let answer = world.client().send(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        world.get(&format!("{EVENTS}/{}", text(&answer.data(), "id"))).await
    };
    let event = send("1", Some("application/octet-stream"), b"\xff\x00").await;
    assert_eq!(event["data"], "/wA=");
    assert_eq!(
        event["attributes"],
        json!({"comment": "say \"hi\" there", "datacontenttype": "application/octet-stream",
               "datacontentencoding": "base64"})
    );
    let event = send("2", Some("text/plain; charset=utf-8"), "Grüße".as_bytes()).await;
    assert_eq!(event["data"], "Grüße");
    assert_eq!(event["attributes"]["datacontenttype"], "text/plain; charset=utf-8");
    for (id, content_type) in [
        ("3", None),
        ("4", Some("application/json")),
        ("5", Some("application/x-www-form-urlencoded")),
    ] {
        let event = send(id, content_type, br#"{"total":"1.00"}"#).await;
        assert_eq!(event["data"], json!({"total": "1.00"}), "{content_type:?}");
        assert_eq!(event["attributes"]["datacontenttype"], Value::Null);
    }
    let both = json!({"specversion": "1.0", "type": "a.b", "source": "/p", "id": "6", "data": 1, "data_base64": "AQ=="});
    let call = Call::post(EVENTS, "application/cloudevents+json", both.to_string());
    assert_eq!(problem(&world.client().send(call).await.unwrap(), 422)[0].0, "data_base64");
}

/// An endpoint that delivers to the source of its own events makes a loop. Every turn of it costs a
/// capture and a delivery, so it must end.
#[rstest]
#[tokio::test]
async fn an_endpoint_that_feeds_its_own_source_comes_to_an_end(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let open = json!({"name": "own", "kind": "webhook", "webhook": {"scheme": "none"}});
    world.post("/api/v1/sources", &open).await;
    let own = format!("{}/in/own", world.server().address());
    world.endpoint(&crate::support::endpoint("loop", &own)).await;
    world.event(&invoice(1)).await;
    let dead = world.eventually("/api/v1/dead-letters", |dead| dead[0].is_object()).await;
    let delivery = text(&dead[0], "delivery_id");
    let delivery = world.get(&format!("/api/v1/deliveries/{delivery}")).await;
    let said = delivery["attempts"].to_string();
    assert!(said.contains("urn:waybill:problem:loop"), "{delivery:#}");
    let events = world.get(&format!("{EVENTS}?limit=200")).await;
    assert_eq!(events.as_array().unwrap().len(), 9, "the first, and eight turns");
    assert_eq!(events[0]["attributes"]["waybillhops"], 8);
    let refused = world.get("/api/v1/sources/own").await["status"]["refused"].clone();
    assert!(refused["loop"].as_u64().unwrap() >= 1, "{refused}");
}

#[tokio::test]
async fn hops_are_carried_through_every_way_in_and_out() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = waybill_tests::Receiver::start().await;
    for envelope in ["default", "cloudevents", "cloudevents-binary"] {
        let url = receiver.url(&format!("/{envelope}"));
        let settings =
            json!({"name": envelope, "url": url, "events": ["a.*"], "envelope": envelope});
        world.endpoint(&settings).await;
    }
    let plain = |hops: &str| {
        let body = json!({"type": "a.b", "data": {}}).to_string();
        Call::post(EVENTS, "application/json", body).header("X-Waybill-Hops", hops)
    };
    let cloud = |hops: Value| {
        let event = json!({"specversion": "1.0", "type": "a.c", "source": "/p", "id": "1",
                           "waybillhops": hops, "data": {}});
        Call::post(EVENTS, "application/cloudevents+json", event.to_string())
    };
    for (call, hops, n) in [(plain("3"), 3, 1), (cloud(json!(4)), 4, 2)] {
        let id = text(&world.client().send(call).await.unwrap().data(), "id");
        let event = world.get(&format!("{EVENTS}/{id}")).await;
        assert_eq!(event["attributes"]["waybillhops"], hops);
        let said = |path: &str, arrivals: Vec<waybill_tests::Arrival>| {
            let of_event = |arrival: &&waybill_tests::Arrival| {
                arrival.header("x-waybill-event") == event["type"].as_str().unwrap()
            };
            let arrival =
                arrivals.iter().find(of_event).cloned().unwrap_or_else(|| panic!("{path}"));
            assert_eq!(arrival.header("x-waybill-hops"), (hops + 1).to_string());
            arrival
        };
        for path in ["/default", "/cloudevents", "/cloudevents-binary"] {
            let arrival = said(path, receiver.wait_for(path, n).await);
            match path {
                "/cloudevents" => assert_eq!(arrival.json()["waybillhops"], hops + 1),
                "/cloudevents-binary" => {
                    assert_eq!(arrival.header("ce-waybillhops"), (hops + 1).to_string());
                }
                _ => {}
            }
        }
    }
    assert_eq!(world.client().send(plain("8")).await.unwrap().status, StatusCode::ACCEPTED);
    for call in [plain("9"), plain("soon"), cloud(json!("9")), cloud(json!(-1))] {
        problem(&world.client().send(call).await.unwrap(), 422);
    }
    let looped = world.client().send(plain("9")).await.unwrap().json();
    assert_eq!(looped["type"], "urn:waybill:problem:loop");
}

/// A map of headers has room for 24,576 names, and a request for many more.
#[tokio::test]
async fn a_cloud_event_has_a_bounded_number_of_attributes() {
    let Some(world) = World::start(Sqlite).await else { return };
    let of = |extensions: usize| {
        let mut event =
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b", "data": {}});
        for n in 0..extensions {
            event[format!("x{n}")] = json!(1);
        }
        Call::post("/api/v1/events", "application/cloudevents+json", event.to_string())
    };
    let answer = world.client().send(of(25_000)).await.unwrap();
    assert!(problem(&answer, 422)[0].1.contains("more than 256 attributes"), "{}", answer.text());
    assert_eq!(world.client().send(of(200)).await.unwrap().status, 202);
}
