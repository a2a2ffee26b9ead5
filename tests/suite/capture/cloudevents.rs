//! CloudEvents, in and out, and the hops that they carry.

use super::EVENTS;
use crate::support::{invoice, problem};
use hyper::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::rest::Call;
use waybill_tests::world::text;

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
