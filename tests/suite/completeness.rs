//! Completeness: every event of a day has an outcome at an endpoint, every gap has a name, and just
//! the gaps are sent.

use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

use crate::modules::{order, with_hostile};
use crate::support::{assert_problem, caller, endpoint_with, invoice, problem, texts};

const PATH: &str = "/api/v1/completeness";
const LARGE: &str = "double(data.total) >= 1000.0";

/// Changes the endpoint `erp`.
async fn set_erp(world: &World, change: &Value) {
    set_endpoint(world, "erp", change).await;
}

async fn set_endpoint(world: &World, name: &str, change: &Value) {
    let path = format!("/api/v1/endpoints/{name}");
    let answer = world.client().patch(&path, change).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

fn small_invoice(id: u32) -> Value {
    json!({"type": "invoice.paid", "resource_id": id.to_string(), "data": {"id": id, "total": "5.00"}})
}

async fn eventually_delivery(world: &World, event: &str, status: &str) -> String {
    let path = format!("/api/v1/events/{event}");
    let found = world
        .eventually(&path, |found| {
            found["deliveries"].as_array().unwrap().iter().any(|one| one["status"] == status)
        })
        .await;
    text(&found["deliveries"][0], "id")
}

/// A day with a delivery of each kind.
pub(crate) struct Day {
    pub(crate) world: World,
    pub(crate) receiver: Receiver,
    pub(crate) delivered: String,
    pub(crate) dead: String,
    pub(crate) dropped: String,
    pub(crate) cancelled: String,
    pub(crate) disabled: String,
    /// The ids of the deliveries that died and that were called off.
    pub(crate) deliveries: [String; 2],
}

impl Day {
    /// Makes one event that is delivered, one that dies, one that `where` drops, one whose delivery is
    /// called off, and two that are captured while the endpoint is disabled, of which `where` would
    /// drop one. The receiver is well at the end.
    pub(crate) async fn start(backend: Backend) -> Option<Self> {
        let world = World::start(backend).await?;
        let receiver = Receiver::start().await;
        let more = json!({"where": LARGE, "retry": {"schedule": []}});
        world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &more)).await;
        let delivered = world.event(&invoice(1)).await;
        eventually_delivery(&world, &delivered, "delivered").await;
        receiver.always("/erp", Reply::Status(500));
        let dead = world.event(&invoice(2)).await;
        let dead_delivery = eventually_delivery(&world, &dead, "dead").await;
        let dropped = world.event(&small_invoice(3)).await;
        set_erp(&world, &json!({"retry": {"schedule": ["1h"]}})).await;
        let cancelled = world.event(&invoice(4)).await;
        receiver.wait_for("/erp", 3).await;
        let waiting = eventually_delivery(&world, &cancelled, "pending").await;
        cancel(&world, &waiting).await;
        set_erp(&world, &json!({"enabled": false})).await;
        let disabled = world.event(&invoice(5)).await;
        world.event(&small_invoice(6)).await;
        set_erp(&world, &json!({"enabled": true})).await;
        receiver.always("/erp", Reply::Status(200));
        let deliveries = [dead_delivery, waiting];
        Some(Self { world, receiver, delivered, dead, dropped, cancelled, disabled, deliveries })
    }

    /// Returns the ids of the events that are gaps.
    fn gaps(&self) -> [&str; 3] {
        [&self.dead, &self.cancelled, &self.disabled]
    }
}

/// Calls a delivery off, once its attempt is recorded.
async fn cancel(world: &World, delivery: &str) {
    let path = format!("/api/v1/deliveries/{delivery}");
    world.eventually(&path, |found| found["attempt_count"] == 1).await;
    world.post(&format!("{path}/cancel"), &json!({})).await;
}

fn counts<const N: usize>(statement: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| statement["counts"][name].as_u64().unwrap())
}

fn send_all(statement: &Value) -> Value {
    json!({"endpoint": "erp", "day": statement["day"], "count": statement["sendable"]})
}

#[rstest]
#[tokio::test]
async fn every_gap_is_named_and_just_the_gaps_are_sent(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(day) = Day::start(backend).await else { return };
    let Day { world, receiver, .. } = &day;
    let look = format!("{PATH}?endpoint=erp");
    let found = world.get(&look).await;
    let names = ["captured", "deliveries", "delivered", "dropped", "waiting", "gaps"];
    assert_eq!(counts(&found, names), [6, 3, 1, 2, 0, 3], "{found:#}");
    assert_eq!((&found["state"], &found["whole_day"]), (&json!("gaps"), &json!(true)));
    assert_eq!(texts(&found["gaps"], "event_id"), day.gaps());
    assert_eq!(texts(&found["gaps"], "kind"), ["dead", "cancelled", "disabled"]);
    let given: Vec<&str> = found["gaps"].as_array().unwrap()[..2]
        .iter()
        .map(|gap| gap["delivery_id"].as_str().unwrap())
        .collect();
    assert_eq!(given, day.deliveries);
    let reasons = texts(&found["gaps"], "reason");
    assert!(reasons[0].contains("500"), "{reasons:?}");
    assert_eq!(reasons[2], "endpoint `erp` is disabled");
    assert!(found["gaps"].as_array().unwrap().iter().all(|gap| gap["since"].is_string()));
    let dropped = texts(&found["dropped"], "reason").concat();
    assert!(
        dropped.contains("where was false") && !dropped.contains("5.00"),
        "one rule: {dropped}"
    );
    assert_eq!(found["resources"][0]["resource"], "invoice");

    // A count that is not true any more sends nothing.
    let sent_before = receiver.count("/erp");
    let send = format!("{PATH}/send");
    let wrong = json!({"endpoint": "erp", "day": found["day"], "count": 2});
    problem(&world.client().post(&send, &wrong).await.unwrap(), 409);
    assert_eq!(world.get(&look).await["counts"], found["counts"]);

    let sent = world.post(&send, &send_all(&found)).await;
    assert_eq!(sent, json!({"resent": 2, "made": 1, "planned": 0, "rows": 0}));
    let arrivals = receiver.wait_for("/erp", sent_before + 3).await;
    let again = &arrivals[sent_before..];
    let mut events: Vec<String> = again.iter().map(|one| text(&one.json(), "id")).collect();
    events.sort();
    assert_eq!(events, day.gaps());
    let mut ids: Vec<&str> = again.iter().map(|one| one.header("webhook-id")).collect();
    ids.retain(|id| day.deliveries.iter().any(|known| known == id));
    assert_eq!(ids.len(), 2, "they keep their webhook-id");

    let complete = world.eventually(&look, |found| found["state"] == "complete").await;
    assert_eq!(counts(&complete, names), [6, 4, 4, 2, 0, 0], "{complete:#}");
    assert_eq!(complete["gaps"], json!([]));
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
    let none = world.post(&send, &send_all(&complete)).await;
    assert_eq!(none, json!({"resent": 0, "made": 0, "planned": 0, "rows": 0}));
    assert_eq!(receiver.count("/erp"), sent_before + 3);
}

#[rstest]
#[tokio::test]
async fn a_day_is_asked_for_by_resource_and_in_pages(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(day) = Day::start(backend).await else { return };
    let world = &day.world;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{PATH}?endpoint=erp&resource=invoice&limit=1{cursor}");
        let page = world.client().get(&path).await.unwrap().json();
        assert_eq!(page["data"]["counts"]["gaps"], 3, "each page has the counts of all: {page:#}");
        found.extend(texts(&page["data"]["gaps"], "event_id"));
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, day.gaps());
    let leads = world.get(&format!("{PATH}?endpoint=erp&resource=lead")).await;
    assert_eq!((&leads["state"], leads["counts"]["captured"].as_u64()), (&json!("quiet"), Some(0)));
    let yesterday = world.get(&format!("{PATH}?endpoint=erp&day=2026-01-01")).await;
    assert_eq!(yesterday["state"], "quiet");
    for (query, field) in [
        ("day=2026-02-30", "day"),
        ("day=today", "day"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("resource=%00", "resource"),
        ("dya=2026-01-01", "query"),
    ] {
        let answer = world.client().get(&format!("{PATH}?endpoint=erp&{query}")).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, field, "{query}");
    }
    problem(&world.client().get(&format!("{PATH}?endpoint=nobody")).await.unwrap(), 404);
}

#[rstest]
#[tokio::test]
async fn the_last_days_of_all_endpoints_have_a_state(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(day) = Day::start(backend).await else { return };
    let world = &day.world;
    let more = json!({"events": ["lead.*"]});
    world.endpoint(&endpoint_with("crm", &day.receiver.url("/crm"), &more)).await;
    let found = world.get(&format!("{PATH}/days?days=3")).await;
    assert_eq!(texts(&found, "endpoint"), ["crm", "erp"]);
    let today = &found[1]["days"][0];
    assert_eq!((&today["state"], &today["gaps"]), (&json!("gaps"), &json!(3)), "{found:#}");
    let quiet = |endpoint: usize, day: usize| found[endpoint]["days"][day]["state"] == "quiet";
    assert!(quiet(0, 0) && quiet(0, 2) && quiet(1, 1), "{found:#}");
    assert!(found[1]["days"].as_array().unwrap().iter().all(|day| day["whole"] == true));
    let one = world.get(&format!("{PATH}/days?endpoint=crm")).await;
    assert_eq!(
        (texts(&one, "endpoint"), one[0]["days"].as_array().unwrap().len()),
        (vec!["crm".into()], 14)
    );
    for days in ["0", "15", "x"] {
        let answer = world.client().get(&format!("{PATH}/days?days={days}")).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, "days");
    }
}

#[rstest]
#[tokio::test]
async fn a_delivery_that_was_called_off_is_no_gap_once_a_newer_state_arrived(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/erp", Reply::Status(500));
    let more = json!({"retry": {"schedule": ["1h"]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &more)).await;
    let look = format!("{PATH}?endpoint=erp");
    for id in [7, 8] {
        let event = world.event(&invoice(id)).await;
        let waiting = eventually_delivery(&world, &event, "pending").await;
        cancel(&world, &waiting).await;
    }
    assert_eq!(counts(&world.get(&look).await, ["gaps", "cancelled"]), [2, 0]);
    receiver.always("/erp", Reply::Status(200));
    let newer = world.event(&invoice(7)).await;
    eventually_delivery(&world, &newer, "delivered").await;
    let found = world.get(&look).await;
    assert_eq!(counts(&found, ["gaps", "cancelled", "delivered"]), [1, 1, 1], "{found:#}");
    assert_eq!(texts(&found["gaps"], "resource_id"), ["8"]);
}

#[tokio::test]
async fn what_a_module_keeps_back_is_no_gap_and_what_it_fails_on_is_one() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let planned = async |event: &str| {
        let path = format!("/api/v1/events/{event}");
        world.eventually(&path, |found| found["waiting"] == json!([])).await;
    };
    planned(&world.event(&order(&json!({"do": "drop"}))).await).await;
    planned(&world.event(&order(&json!({"do": "echo", "to": ["other"]}))).await).await;
    let failed = world.event(&order(&json!({"do": "fail_permanent"}))).await;
    planned(&failed).await;
    set_endpoint(&world, "sink", &json!({"enabled": false})).await;
    let shared = json!({"do": "echo", "to": ["sink", "other"]});
    let disabled = world.event(&order(&shared)).await;
    planned(&disabled).await;
    receiver.wait_for("/other", 2).await;
    set_endpoint(&world, "sink", &json!({"enabled": true})).await;

    let found = world.get(&format!("{PATH}?endpoint=sink")).await;
    assert_eq!(counts(&found, ["captured", "dropped", "gaps"]), [4, 2, 2], "{found:#}");
    let reasons = texts(&found["dropped"], "reason").join("; ");
    assert!(reasons.contains("module `hostile` dropped it: told to"), "{reasons}");
    assert!(reasons.contains("did not choose this endpoint"), "{reasons}");
    assert_eq!(texts(&found["gaps"], "event_id"), [failed.as_str(), disabled.as_str()]);
    assert_eq!(texts(&found["gaps"], "kind"), ["modules_failed", "disabled"]);
    assert_eq!(found["gaps"][0]["hindrance"], Value::Null);
    let why = text(&found["gaps"][1], "hindrance");
    assert!(why.contains("other endpoints"), "{why}");

    // Only what cannot reach another endpoint twice is sent.
    assert_eq!(found["sendable"], 1);
    let wanted = json!({"endpoint": "sink", "day": found["day"], "count": 1});
    let sent = world.post(&format!("{PATH}/send"), &wanted).await;
    assert_eq!(sent, json!({"resent": 0, "made": 0, "planned": 1, "rows": 0}));
    planned(&failed).await;
    assert_eq!(receiver.count("/other"), 2);
    let other = world.get(&format!("{PATH}?endpoint=other")).await;
    assert_eq!(texts(&other["gaps"], "kind"), ["modules_failed"], "{other:#}");
}

#[tokio::test]
async fn a_flow_to_one_endpoint_runs_again_for_what_it_missed() {
    let Some((world, receiver)) = with_hostile(Sqlite).await else { return };
    let flow = json!({"name": "own", "events": ["own.*"], "modules": [{"name": "hostile"}],
                      "endpoints": ["sink"]});
    world.post("/api/v1/flows", &flow).await;
    let path = "/api/v1/flows/own";
    let off = world.client().patch(path, &json!({"enabled": false})).await.unwrap();
    assert_eq!(off.status, StatusCode::OK, "{}", off.text());
    let missed = world.event(&json!({"type": "own.order", "data": {"do": "echo"}})).await;
    let quiet = world.get(&format!("{PATH}?endpoint=sink")).await;
    assert_eq!(quiet["state"], "quiet", "a disabled flow is not a route");
    let on = world.client().patch(path, &json!({"enabled": true})).await.unwrap();
    assert_eq!(on.status, StatusCode::OK, "{}", on.text());
    let found = world.get(&format!("{PATH}?endpoint=sink")).await;
    assert_eq!(texts(&found["gaps"], "event_id"), [missed.as_str()], "{found:#}");
    assert_eq!(texts(&found["gaps"], "reason"), ["flow `own` is disabled"]);
    let send = json!({"endpoint": "sink", "day": found["day"], "count": 1});
    assert_eq!(world.post(&format!("{PATH}/send"), &send).await["planned"], 1);
    receiver.first("/sink").await;
    world.eventually(&format!("{PATH}?endpoint=sink"), |found| found["state"] == "complete").await;
}

#[tokio::test]
async fn events_from_before_an_endpoint_are_no_gaps() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.event(&invoice(1)).await;
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &json!({}))).await;
    let found = world.get(&format!("{PATH}?endpoint=erp")).await;
    assert_eq!(counts(&found, ["captured", "not_taken", "gaps"]), [1, 1, 0], "{found:#}");
    assert_eq!(found["state"], "quiet");
}

#[tokio::test]
async fn gaps_are_sent_by_those_who_may_replay() {
    let Some(day) = Day::start(Sqlite).await else { return };
    let world = &day.world;
    let found = world.get(&format!("{PATH}?endpoint=erp")).await;
    let (look, send) = (format!("{PATH}?endpoint=erp"), format!("{PATH}/send"));
    let reader = caller(world, &json!({"name": "reader", "scopes": ["read-only"]})).await;
    assert_eq!(reader.get(&look).await.unwrap().status, StatusCode::OK);
    let refused = reader.post(&send, &send_all(&found)).await.unwrap();
    assert_problem(&refused, StatusCode::FORBIDDEN, "deliveries:replay");
    let sender = json!({"name": "sender", "scopes": ["deliveries:replay"]});
    let sender = caller(world, &sender).await;
    let refused = sender.post(&send, &send_all(&found)).await.unwrap();
    assert_problem(&refused, StatusCode::FORBIDDEN, "events:replay");
    let some = json!({"name": "some", "scopes": ["read-only"], "tables": ["invoice"]});
    let limited = caller(world, &some).await;
    assert_eq!(limited.get(&look).await.unwrap().status, StatusCode::FORBIDDEN);
    // A disabled endpoint keeps its gaps.
    set_erp(world, &json!({"enabled": false})).await;
    let refused = world.client().post(&send, &send_all(&found)).await.unwrap();
    assert_problem(&refused, StatusCode::CONFLICT, "is disabled");
    assert_eq!(world.get(&look).await["counts"]["gaps"], 3);
    set_erp(world, &json!({"enabled": true})).await;
    let both = json!({"name": "both", "scopes": ["deliveries:replay", "events:replay"]});
    let both = caller(world, &both).await;
    let answer = both.post(&send, &send_all(&found)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let calls = world.get("/api/v1/audit?limit=200").await;
    let is_sent = |call: &Value| call["route"] == send.as_str() && call["status"] == 200;
    assert!(calls.as_array().unwrap().iter().any(is_sent), "it is audited");
}
