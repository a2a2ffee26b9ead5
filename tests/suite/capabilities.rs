//! The capabilities of modules, the effect of each call, and that no call succeeds without a grant.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::guest;
use waybill_tests::{Receiver, World};

use crate::modules::upload;
use crate::support::endpoint_with;

/// Starts a world in which the module `caller` has the given grants, with an endpoint for its
/// drafts and one for the events that it emits.
async fn granting(backend: Backend, grants: &Value) -> Option<(World, Receiver)> {
    let component = guest("caller")?;
    let world = World::start_with(backend, |settings| {
        settings.set("delivery.retry_schedule", r#"["50ms", "50ms"]"#);
        settings.environment("TEST_WAYBILL_GRANTS", &grants.to_string());
    });
    let world = world.await?;
    let receiver = Receiver::start().await;
    let answer = upload(&world, "caller", component).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let sink = endpoint_with("sink", &receiver.url("/sink"), &json!({"events": []}));
    world.endpoint(&sink).await;
    let facts = endpoint_with("facts", &receiver.url("/facts"), &json!({"events": ["fact.*"]}));
    world.endpoint(&facts).await;
    let module = json!({"name": "caller", "config": {"list": [1, 2], "text": "a"}});
    let flow =
        json!({"name": "calls", "events": ["call.*"], "modules": [module], "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;
    Some((world, receiver))
}

fn order(order: &Value) -> Value {
    json!({"type": "call.order", "data": order})
}

async fn answers(receiver: &Receiver, count: usize) -> Vec<Value> {
    let arrivals = receiver.wait_for("/sink", count).await;
    arrivals.iter().map(|arrival| arrival.json()["payload"]["answers"].clone()).collect()
}

/// Waits until `count` different deliveries have arrived.
async fn delivered(world: &World, count: usize) {
    let path = "/api/v1/deliveries?status=delivered&limit=200";
    let all = |found: &Value| found.as_array().is_some_and(|all| all.len() >= count);
    world.eventually(path, all).await;
}

const EVERY_CALL: [(&str, &str); 9] = [
    ("get", "state"),
    ("increment", "state"),
    ("record", "records"),
    ("find", "records"),
    ("send", "http"),
    ("hmac", "secrets"),
    ("verify", "secrets"),
    ("emit", "emit"),
    ("cancel", "deliveries"),
];

#[tokio::test]
async fn what_was_not_granted_is_denied_by_name() {
    let Some((world, receiver)) = granting(Sqlite, &json!({})).await else { return };
    let calls: Vec<Value> = EVERY_CALL
        .iter()
        .map(|(call, _)| json!({"call": call, "key": "k", "kind": "fact.made", "value": "{}"}))
        .collect();
    let id = world.event(&order(&json!({"calls": calls, "catch": true}))).await;
    let answers = answers(&receiver, 1).await;
    for (n, (call, capability)) in EVERY_CALL.iter().enumerate() {
        assert_eq!(answers[0][n]["code"], "denied", "{call}: {:#}", answers[0]);
        let message = answers[0][n]["message"].as_str().unwrap();
        assert!(message.contains(&format!("`{capability}` is not granted")), "{call}: {message}");
        assert!(message.contains("manifest"), "{call}: {message}");
    }
    assert_eq!(receiver.count("/facts"), 0);
    let trace = world.get(&format!("/api/v1/events/{id}")).await;
    assert!(trace["steps"].to_string().contains("verdict"), "{trace:#}");
}

/// A module that does not handle the failure passes it on, and it is permanent.
#[tokio::test]
async fn a_denied_call_that_is_not_caught_is_a_dead_letter() {
    let Some((world, _receiver)) = granting(Sqlite, &json!({})).await else { return };
    world.event(&order(&json!({"calls": [{"call": "increment", "key": "k", "by": 1}]}))).await;
    let path = "/api/v1/dead-letters";
    let dead = world.eventually(path, |found| found[0]["reason"].is_string()).await;
    assert_eq!(dead[0]["reason"], "module_failure");
    assert!(dead[0]["detail"].as_str().unwrap().contains("denied"), "{dead:#}");
}

#[rstest]
#[tokio::test]
async fn state_changes_once_for_each_event(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((mut world, receiver)) = granting(backend, &json!({"state": {}})).await else {
        return;
    };
    let count = || order(&json!({"calls": [{"call": "increment", "key": "turn", "by": 1}]}));
    let batch: Vec<Value> = (0..100).map(|_| count()).collect();
    world.post("/api/v1/events", &json!(batch)).await;
    receiver.wait_for("/sink", 10).await;
    world.kill9();
    world.restart();
    delivered(&world, 100).await;
    let mut turns: Vec<f64> =
        answers(&receiver, 100).await.iter().map(|answers| answers[0].as_f64().unwrap()).collect();
    turns.sort_by(f64::total_cmp);
    turns.dedup();
    let expected: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(turns, expected, "each turn was given once");
    world.event(&order(&json!({"calls": [{"call": "get", "key": "turn"}]}))).await;
    delivered(&world, 101).await;
    assert!(answers(&receiver, 101).await.iter().any(|answers| answers[0] == "100"));
}

#[rstest]
#[tokio::test]
async fn a_module_that_fails_has_changed_nothing(#[values(Sqlite, Postgres)] backend: Backend) {
    let grants = json!({"state": {}, "emit": ["fact.*"], "counters": ["tries"]});
    let Some((world, receiver)) = granting(backend, &grants).await else { return };
    let failing = json!({"calls": [
        {"call": "increment", "key": "turn", "by": 1}, {"call": "emit", "kind": "fact.made"},
        {"call": "count", "key": "tries", "by": 1}, {"call": "fail"},
    ]});
    world.event(&order(&failing)).await;
    world.eventually("/api/v1/dead-letters", |found| found[0]["reason"].is_string()).await;
    world.event(&order(&json!({"calls": [{"call": "get", "key": "turn"}]}))).await;
    assert_eq!(answers(&receiver, 1).await[0][0], Value::Null);
    assert_eq!(receiver.count("/facts"), 0);
    let versions = world.get("/api/v1/modules/caller").await;
    assert!(versions[0]["counters"].is_null(), "{versions:#}");
}

#[tokio::test]
async fn state_of_a_dry_run_is_a_copy() {
    let Some((world, receiver)) = granting(Sqlite, &json!({"state": {}})).await else { return };
    let count = order(&json!({"calls": [{"call": "increment", "key": "turn", "by": 1}]}));
    world.event(&count).await;
    assert_eq!(answers(&receiver, 1).await[0][0], 1.0);
    for _ in 0..2 {
        let ran = world.post("/api/v1/flows/calls/run", &json!({"event": count})).await;
        assert!(ran.to_string().contains("[2.0]"), "it reads what is stored: {ran:#}");
    }
    world.event(&count).await;
    assert_eq!(answers(&receiver, 2).await[1][0], 2.0);
}

#[tokio::test]
async fn state_of_records_is_apart_and_goes_with_its_flow() {
    let grants = json!({"state": {"scope": "record"}});
    let Some((world, receiver)) = granting(Sqlite, &grants).await else { return };
    let count = |id: &str| {
        let calls = json!([{"call": "increment", "key": "turn", "by": 1}]);
        json!({"type": "call.order", "resource": "lead", "resource_id": id, "data": {"calls": calls}})
    };
    for (n, id) in ["1", "2", "1"].into_iter().enumerate() {
        world.event(&count(id)).await;
        answers(&receiver, n + 1).await;
    }
    let turns: Vec<f64> =
        answers(&receiver, 3).await.iter().map(|all| all[0].as_f64().unwrap()).collect();
    assert_eq!(turns, [1.0, 1.0, 2.0]);
}

#[rstest]
#[tokio::test]
async fn an_event_is_handed_to_other_flows_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let grants = json!({"emit": ["fact.*"], "counters": ["made"]});
    let Some((world, receiver)) = granting(backend, &grants).await else { return };
    let calls = json!([
        {"call": "emit", "kind": "fact.made", "subject": "7", "value": "{\"a\":1}"},
        {"call": "count", "key": "made", "by": 3}, {"call": "count", "key": "other", "by": 1},
    ]);
    let parent = world.event(&order(&json!({"calls": calls}))).await;
    let arrival = receiver.first("/facts").await.json();
    assert_eq!(arrival["event"], "fact.made");
    assert_eq!([&arrival["resource_id"], &arrival["payload"]["a"]], [&json!("7"), &json!(1)]);
    let id = arrival["id"].as_str().unwrap().to_owned();
    assert_eq!(answers(&receiver, 1).await[0][0], id);
    let made = world.get(&format!("/api/v1/events/{id}")).await;
    assert_eq!(made["attributes"]["waybill-caused-by"], parent, "{made:#}");
    assert_eq!(made["attributes"]["waybill-hops"], "1", "{made:#}");
    let versions = world.get("/api/v1/modules/caller").await;
    assert_eq!(versions[0]["counters"], json!({"made": 3}), "{versions:#}");

    world.post(&format!("/api/v1/events/{parent}/replay"), &json!({})).await;
    answers(&receiver, 2).await;
    assert_eq!(receiver.count("/facts"), 1, "a replay makes the same event, which is there");
}

#[tokio::test]
async fn a_circle_of_flows_ends() {
    let grants = json!({"emit": ["call.*"], "state": {}});
    let Some((world, receiver)) = granting(Sqlite, &grants).await else { return };
    // Each event emits one like it.
    let inner = json!({"calls": [{"call": "told"}]});
    let mut order_of = inner;
    for _ in 0..9 {
        let value = order_of.to_string();
        order_of = json!({"calls": [{"call": "told"}, {"call": "emit", "kind": "call.order", "value": value}]});
    }
    world.event(&order(&order_of)).await;
    let dead =
        world.eventually("/api/v1/dead-letters", |found| found[0]["reason"].is_string()).await;
    assert!(dead[0]["detail"].as_str().unwrap().contains("8 hops"), "{dead:#}");
    let hops: Vec<Value> =
        answers(&receiver, 8).await.iter().map(|all| all[0]["hops"].clone()).collect();
    assert_eq!(hops.len(), 8, "the first event and seven hops: {hops:?}");
}

#[rstest]
#[tokio::test]
async fn a_delivery_that_waits_is_cancelled_by_name(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, receiver)) = granting(backend, &json!({"deliveries": true})).await else {
        return;
    };
    let reminder = json!({"calls": [], "route": {"delay": 3600, "cancel_key": "reminder 7"}});
    world.event(&order(&reminder)).await;
    let pending = "/api/v1/deliveries?status=pending";
    world.eventually(pending, |found| found[0]["id"].is_string()).await;
    let cancel = json!({"calls": [{"call": "cancel", "key": "reminder 7"}],
        "route": {"delay": 3600, "cancel_key": "reminder 7"}});
    world.event(&order(&cancel)).await;
    let cancelled = "/api/v1/deliveries?status=cancelled";
    let gone = world.eventually(cancelled, |found| found[0]["id"].is_string()).await;
    assert_eq!(gone.as_array().unwrap().len(), 1, "that of the same plan stays: {gone:#}");
    assert_eq!(world.get(pending).await.as_array().unwrap().len(), 1);
    assert_eq!(receiver.count("/sink"), 0);
}

#[tokio::test]
async fn a_module_is_told_resource_changes_and_all_of_its_configuration() {
    let Some((world, receiver)) = granting(Sqlite, &json!({})).await else { return };
    let event = json!({"type": "call.order", "resource": "lead", "resource_id": "7",
        "data": {"calls": [{"call": "told"}]}});
    world.event(&event).await;
    let told = answers(&receiver, 1).await[0][0].clone();
    assert_eq!(told["resource"], "lead");
    assert_eq!(told["config"], json!({"list": [1, 2], "text": "a"}));
    assert_eq!([&told["changed"], &told["hops"]], [&Value::Null, &Value::Null]);
}

#[rstest]
#[tokio::test]
async fn records_are_found_by_an_indexed_field(#[values(Sqlite, Postgres)] backend: Backend) {
    let grants = json!({"records": {"indexes": [{"resource": "lead", "field": "email"}]}});
    let Some((world, receiver)) = granting(backend, &grants).await else { return };
    let lead = |id: u32, email: &str| {
        let data = json!({"id": id, "email": email, "firstname": "A", "lastname": "B"});
        json!({"type": "lead.created", "resource": "lead", "resource_id": id.to_string(), "data": data})
    };
    for (id, email) in [(1, "a@example.com"), (2, "b@example.com"), (3, "a@example.com")] {
        world.event(&lead(id, email)).await;
    }
    let look = json!({"calls": [
        {"call": "find", "resource": "lead", "field": "email", "value": "a@example.com"},
        {"call": "find", "resource": "lead", "field": "email", "value": "c@example.com"},
        {"call": "record", "resource": "lead", "id": "2"},
    ]});
    // Until the index is filled the module's failure is retryable, and a dead letter is replayed by
    // hand.
    let path = "/api/v1/flows/calls/run";
    for _ in 0..600 {
        let ran = world.post(path, &json!({"event": order(&look)})).await;
        if ran["failure"].is_null() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.event(&order(&look)).await;
    let answers = answers(&receiver, 1).await;
    assert_eq!(answers[0][0], json!(["3", "1"]), "{answers:#?}");
    assert_eq!(answers[0][1], json!([]));
    assert!(answers[0][2].as_str().unwrap().contains("b@example.com"));
    let other = json!({"calls": [{"call": "find", "resource": "lead", "field": "phonenumber", "value": "1"}]});
    world.event(&order(&other)).await;
    let dead =
        world.eventually("/api/v1/dead-letters", |found| found[0]["reason"].is_string()).await;
    assert!(dead[0]["detail"].as_str().unwrap().contains("not_indexed"), "{dead:#}");
}

#[rstest]
#[case::operation(json!({"route": {"operation": "lead_create"}}), "`webhook` has no operations")]
#[case::attribute(json!({"route": {"attribute": "waybill-hops"}}), "invalid")]
#[tokio::test]
async fn what_cannot_be_done_is_a_clear_dead_letter(#[case] given: Value, #[case] said: &str) {
    let Some((world, _receiver)) = granting(Sqlite, &json!({})).await else { return };
    world.event(&order(&given)).await;
    let dead =
        world.eventually("/api/v1/dead-letters", |found| found[0]["reason"].is_string()).await;
    assert!(dead[0]["detail"].as_str().unwrap().contains(said), "{dead:#}");
}

/// The operation that takes the type is not the one that runs.
#[tokio::test]
async fn a_dispatch_runs_the_operation_that_it_names() {
    let Some((world, receiver)) = granting(Sqlite, &json!({})).await else { return };
    let settings = json!({"operations": {
        "usual": {"path": "/usual", "events": ["*"]}, "named": {"path": "/named"}}});
    let crm = json!({"kind": "api", "settings": settings, "events": []});
    world.endpoint(&endpoint_with("crm", &receiver.url(""), &crm)).await;
    let both = json!({"endpoints": ["sink", "crm"]});
    assert_eq!(world.client().patch("/api/v1/flows/calls", &both).await.unwrap().status, 200);
    for operation in [json!("named"), json!(null), json!("namet")] {
        let route = json!({"route": {"to": "crm", "operation": operation}});
        world.event(&order(&route)).await;
    }
    receiver.first("/named").await;
    receiver.first("/usual").await;
    let dead =
        world.eventually("/api/v1/dead-letters", |found| found[0]["reason"].is_string()).await;
    let detail = dead[0]["detail"].as_str().unwrap();
    assert!(detail.contains("no operation `namet`; did you mean `named`?"), "{detail}");
    assert_eq!([receiver.count("/named"), receiver.count("/usual")], [1, 1]);
}
