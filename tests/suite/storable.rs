//! Text that a database refuses, from every origin: output of modules, filters, rows that violate a
//! rule of the database. None of it causes endless work, and both databases give the same result.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::{guest, text};
use waybill_tests::{Database, Receiver, Reply, World};

use crate::support::{endpoint_with, problem};

const DEAD: &str = "/api/v1/dead-letters";

/// Starts a world where `hostile.*` goes through the module of that name to the endpoint `sink`.
async fn world_with_hostile(backend: Backend) -> Option<(World, Receiver)> {
    let component = guest("hostile")?;
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    let upload = Call::post("/api/v1/modules/hostile?activate=true", "application/wasm", component);
    assert_eq!(world.client().send(upload).await.unwrap().status, 201);
    let own = json!({"events": []});
    world.endpoint(&endpoint_with("sink", &receiver.url("/sink"), &own)).await;
    let flow = json!({"name": "hostile", "events": ["hostile.*"],
                      "modules": [{"name": "hostile"}], "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, receiver))
}

fn order(order: &Value) -> Value {
    json!({"type": "hostile.order", "data": order})
}

#[rstest]
#[case::message(json!({"do": "fail_permanent", "text": "a\0b"}), "module_failure")]
#[case::code(json!({"do": "fail_permanent", "code": "a\0b"}), "module_failure")]
#[case::pointer(json!({"do": "fail_permanent", "at": "/a\0b"}), "module_failure")]
#[case::panic(json!({"do": "panic", "text": "a\0b"}), "module_trap")]
#[case::kind(json!({"do": "draft", "kind": "a\0.b"}), "module_output")]
#[case::destination(json!({"do": "route", "to": ["a\0b"]}), "module_output")]
#[tokio::test]
async fn u_0000_in_what_a_module_says_of_a_failure_is_replaced(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] bad: Value,
    #[case] reason: &str,
) {
    let Some((world, _receiver)) = world_with_hostile(backend).await else { return };
    let event = world.event(&order(&bad)).await;
    let dead = world.eventually(DEAD, |found| found[0]["id"].is_string()).await;
    assert_eq!([&dead[0]["event_id"], &dead[0]["reason"]], [&json!(event), &json!(reason)]);
    assert!(text(&dead[0], "detail").contains('\u{fffd}'), "{:#}", dead[0]);
    let trace = world.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(trace["waiting"], json!([]));
}

#[rstest]
#[case::dedupe_key(json!({"do": "route", "to": ["sink"], "dedupe_key": "a\0b"}))]
#[case::ordering_key(json!({"do": "route", "to": ["sink"], "ordering_key": "a\0b"}))]
#[case::attribute(json!({"do": "route", "to": ["sink"], "attributes": {"note": "a\0b"}}))]
#[case::subject(json!({"do": "draft", "subject": "a\0b"}))]
#[case::attribute_name(json!({"do": "draft", "attributes": {"a\0b": "x"}}))]
#[case::log(json!({"do": "log", "text": "a\0b"}))]
#[tokio::test]
async fn u_0000_in_what_a_module_makes_is_replaced_and_delivered(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] made: Value,
) {
    let Some((world, receiver)) = world_with_hostile(backend).await else { return };
    for change in [json!({"ordered": true}), json!({"ordered": false, "mode": "smart"})] {
        let answer = world.client().patch("/api/v1/endpoints/sink", &change).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        world.event(&order(&made)).await;
    }
    world.eventually("/api/v1/deliveries?status=delivered", |found| found[0].is_object()).await;
    receiver.wait_for("/sink", 1).await;
    assert_eq!(world.get(DEAD).await, json!([]));
}

#[rstest]
#[tokio::test]
async fn u_0000_in_a_query_or_a_filter_is_told_to_the_caller(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    for (path, field) in [
        ("/api/v1/events?resource_id=%00", "resource_id"),
        ("/api/v1/events?limit=5&source=a%00b", "source"),
        ("/api/v1/deliveries?event_type=%00", "event_type"),
        ("/api/v1/dead-letters?reason=%00", "reason"),
        ("/api/v1/invoices?source=%00", "source"),
        ("/api/v1/audit?address=%00", "address"),
    ] {
        let errors = problem(&world.client().get(path).await.unwrap(), 422);
        assert_eq!(errors[0].0, field, "{path}");
    }
    for path in ["/api/v1/invoices/%00", "/api/v1/events/%00", "/api/v1/modules/a%00b"] {
        problem(&world.client().get(path).await.unwrap(), 404);
    }
    let replay = json!({"filter": {"reason": "a\0"}, "dry_run": true});
    let answer = world.client().post("/api/v1/dead-letters/replay", &replay).await.unwrap();
    assert_eq!(problem(&answer, 422)[0].0, "reason");
}

/// Starts a world on PostgreSQL with database rules that Waybill does not know.
async fn world_with_rules(rules: &str) -> Option<(World, Receiver)> {
    let (world, receiver) = world_with_hostile(Postgres).await?;
    Database::run(&world.settings().database, rules).await.unwrap();
    Some((world, receiver))
}

#[tokio::test]
async fn a_plan_that_the_database_refuses_becomes_a_dead_letter() {
    let rules = "ALTER TABLE delivery ADD CHECK (event_type <> 'never.stored')";
    let Some((world, receiver)) = world_with_rules(rules).await else { return };
    let refused = order(&json!({"do": "draft", "kind": "never.stored"}));
    let echo = order(&json!({"do": "echo"}));
    let receipts = world.post("/api/v1/events", &json!([echo, refused, echo])).await;
    let dead = world.eventually(DEAD, |found| found[0]["id"].is_string()).await;
    assert_eq!(dead[0]["event_id"], receipts[1]["id"]);
    assert_eq!([&dead[0]["reason"], &dead[0]["flow"]], ["refused_by_database", "hostile"]);
    let trace = world.get(&format!("/api/v1/events/{}", text(&receipts[1], "id"))).await;
    assert_eq!(trace["waiting"], json!([]));
    assert!(text(&trace, "summary").contains("the database refused"), "{trace:#}");
    receiver.wait_for("/sink", 2).await;
}

#[tokio::test]
async fn an_attempt_whose_record_the_database_refuses_is_not_made_again() {
    let rules =
        "ALTER TABLE attempt ADD CHECK (POSITION('never-stored'::bytea IN response_body) = 0)";
    let Some((world, receiver)) = world_with_rules(rules).await else { return };
    let body = "never-stored".into();
    receiver.always("/sink", Reply::Full { status: 200, headers: Vec::new(), body });
    world.event(&order(&json!({"do": "echo"}))).await;
    let path = "/api/v1/deliveries?status=delivered";
    let delivered = world.eventually(path, |found| found[0].is_object()).await;
    let shown = world.get(&format!("/api/v1/deliveries/{}", text(&delivered[0], "id"))).await;
    let error = text(&shown["attempts"][0], "error");
    assert!(error.contains("the database refused"), "{shown:#}");
    assert_eq!(receiver.count("/sink"), 1);
}
