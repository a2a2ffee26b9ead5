//! Alerts: a problem and its end are each reported once, by every available way.

use crate::support::{endpoint_with, invoice, token, verified};
use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::receiver::Arrival;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::text;
use waybill_tests::{Client, Receiver, Reply, Server, Settings, World};

const KEY: &str = "one-key-of-all-nodes-0123456789";

/// Sets rules that fire at once, so that no test waits for minutes.
pub(crate) fn at_once(settings: &mut Settings) {
    settings.environment("WAYBILL_SECRET_KEY", KEY);
    settings.set("alerts.interval", "100ms");
    settings.set("alerts.endpoint_failing", r#"{ limit = "0s", for = "0s" }"#);
    settings.set("alerts.dead_letters", "{ enabled = false }");
    settings.set("alerts.oldest_waiting", "{ enabled = false }");
    settings.set("alerts.failure_rate", "{ enabled = false }");
    // The machine of a test may be short of disk space.
    settings.set("alerts.disk_free", "{ enabled = false }");
}

/// Creates an endpoint `erp` whose receiver fails, and an endpoint `ops` that receives notices.
/// Returns the secret of the latter.
pub(crate) async fn broken(world: &World, receiver: &Receiver) -> String {
    receiver.always("/erp", Reply::Status(500));
    // It receives notices too, but must not get the one about itself.
    let own = json!({
        "events": ["invoice.*", "waybill.alert.*"],
        "retry": {"schedule": vec!["200ms"; 50], "jitter": 0},
    });
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &own)).await;
    let notices = json!({"events": ["waybill.alert.firing", "waybill.alert.resolved"]});
    let ops = world.endpoint(&endpoint_with("ops", &receiver.url("/ops"), &notices)).await;
    for n in 0..6 {
        world.event(&invoice(n)).await;
    }
    text(&ops, "secret")
}

/// Waits for `count` notices with different ids. A delivery that is being sent when its node is
/// killed is sent again with the same id.
async fn distinct_notices(receiver: &Receiver, count: usize) -> Vec<Arrival> {
    for asked in count.. {
        let mut told = receiver.wait_for("/ops", asked).await;
        let mut seen = HashSet::new();
        told.retain(|one| seen.insert(one.header("webhook-id").to_owned()));
        if told.len() >= count {
            return told;
        }
    }
    unreachable!("the range has no end")
}

/// Returns the only alert about the endpoint once it has this state.
pub(crate) async fn alert_in_state(world: &World, state: &str) -> Value {
    let path = "/api/v1/alerts";
    let has_state =
        |found: &Value| found.as_array().unwrap().iter().any(|alert| alert["state"] == state);
    world.eventually(path, has_state).await[0].clone()
}

#[tokio::test]
async fn a_broken_receiver_is_told_at_another_one_and_so_is_its_end() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start_with(backend, at_once).await else { return };
        let receiver = Receiver::start().await;
        let secret = broken(&world, &receiver).await;
        let told = receiver.first("/ops").await;
        assert!(verified(&told, &secret));
        let body = told.json();
        assert_eq!(body["event"], "waybill.alert.firing", "{body:#}");
        assert_eq!(body["source"], "waybill");
        let notice = &body["payload"];
        assert_eq!(notice["rule"], "endpoint_failing");
        assert_eq!(notice["subject"]["name"], "erp");
        assert!(text(notice, "summary").contains("endpoint `erp` has been failing"), "{notice:#}");
        assert!(text(notice, "next_step").contains("send it a test"), "{notice:#}");
        let alert = alert_in_state(&world, "firing").await;
        assert_eq!(alert["id"], notice["alert"]);
        let line = world.server().wait_for_line(&["endpoint `erp` has been failing since"]);
        assert!(line.unwrap().contains("waiting"));
        // Health that was read for an earlier answer is reused for a second.
        let is_failing = |found: &Value| found["health"]["state"] == "failing";
        let found = world.eventually("/api/v1/endpoints/erp", is_failing).await;
        let health = &found["health"];
        assert!(health["failing_since"].is_string() && health["waiting"].as_u64() > Some(0));

        receiver.always("/erp", Reply::Status(204));
        alert_in_state(&world, "resolved").await;
        let told = receiver.wait_for("/ops", 2).await;
        assert_eq!(told[1].json()["event"], "waybill.alert.resolved");
        world.server().wait_for_line(&["endpoint `erp` is well again"]).unwrap();
        // An endpoint that receives notices gets only those about others.
        let to_erp = receiver.arrivals("/erp");
        assert!(to_erp.iter().all(|one| one.json()["event"] == "invoice.paid"));
        let events = world.get("/api/v1/events?source=waybill").await;
        assert_eq!(events.as_array().unwrap().len(), 2, "{events:#}");
    }
}

#[rstest]
#[tokio::test]
async fn an_endpoint_whose_last_retry_died_is_not_well_again(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start_with(backend, at_once).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/erp", Reply::Status(500));
    let retry = json!({"retry": {"schedule": ["1s"], "jitter": 0}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &retry)).await;
    for n in 0..6 {
        world.event(&invoice(n)).await;
    }
    alert_in_state(&world, "firing").await;
    let all_died = |found: &Value| found.as_array().unwrap().len() == 6;
    world.eventually("/api/v1/dead-letters", all_died).await;
    // Several evaluations, each of which would resolve the alert.
    tokio::time::sleep(Duration::from_secs(1)).await;
    alert_in_state(&world, "firing").await;
    let is_failing = |found: &Value| found["health"]["state"] == "failing";
    world.eventually("/api/v1/endpoints/erp", is_failing).await;
    receiver.always("/erp", Reply::Status(204));
    world.event(&invoice(7)).await;
    alert_in_state(&world, "resolved").await;
    world.server().wait_for_line(&["endpoint `erp` is well again"]).unwrap();
}

#[tokio::test]
async fn the_failure_of_a_paused_endpoint_is_over() {
    let Some(world) = World::start_with(Sqlite, at_once).await else { return };
    let receiver = Receiver::start().await;
    broken(&world, &receiver).await;
    alert_in_state(&world, "firing").await;
    let pause = json!({"enabled": false});
    world.client().patch("/api/v1/endpoints/erp", &pause).await.unwrap();
    alert_in_state(&world, "resolved").await;
    world.server().wait_for_line(&["endpoint `erp` is paused; it had been failing"]).unwrap();
}

#[tokio::test]
async fn a_restart_does_not_repeat_a_notice() {
    let Some(mut world) = World::start_with(Sqlite, at_once).await else { return };
    let receiver = Receiver::start().await;
    broken(&world, &receiver).await;
    receiver.first("/ops").await;
    world.kill9();
    world.restart();
    // The new process reports its first evaluation in the metrics, and finds the existing alert.
    let here = "waybill_alerts_evaluated_here 1";
    while !world.client().get("/metrics").await.unwrap().text().contains(here) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let alert = alert_in_state(&world, "firing").await;
    receiver.always("/erp", Reply::Status(204));
    alert_in_state(&world, "resolved").await;
    let told = distinct_notices(&receiver, 2).await;
    let types: Vec<Value> = told.iter().map(|one| one.json()["event"].clone()).collect();
    assert_eq!(types, ["waybill.alert.firing", "waybill.alert.resolved"]);
    assert_eq!(told[1].json()["payload"]["alert"], alert["id"]);
}

#[tokio::test]
async fn two_nodes_give_one_notice() {
    let Some(world) = World::start_with(Postgres, at_once).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut settings = world.settings().clone();
    settings.set("server.listen", "127.0.0.1:0");
    settings.set("server.data_dir", folder.path().to_str().unwrap());
    let second = Server::start(&settings).unwrap();
    let receiver = Receiver::start().await;
    broken(&world, &receiver).await;
    receiver.first("/ops").await;
    // The node with the duty dies; the other one continues.
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let is_here = other.get("/metrics").await.unwrap().text();
    let first_looks = !is_here.contains("waybill_alerts_evaluated_here 1");
    let (mut world, mut second) = (world, second);
    let client = if first_looks {
        world.kill9();
        other
    } else {
        second.kill9();
        Client::new(world.server().address(), Some(ADMIN_TOKEN))
    };
    receiver.always("/erp", Reply::Status(204));
    let told = distinct_notices(&receiver, 2).await;
    let types: Vec<Value> = told.iter().map(|one| one.json()["event"].clone()).collect();
    assert_eq!(types, ["waybill.alert.firing", "waybill.alert.resolved"]);
    let events = client.get("/api/v1/events?source=waybill").await.unwrap().data();
    assert_eq!(events.as_array().unwrap().len(), 2, "{events:#}");
}

#[tokio::test]
async fn the_last_resort_needs_no_endpoint() {
    let receiver = Receiver::start().await;
    receiver.script("/last", [Reply::Status(503), Reply::Status(204)]);
    let webhook = receiver.url("/last");
    let change = |settings: &mut Settings| {
        at_once(settings);
        settings.set("alerts.webhook", &webhook);
        settings.set("alerts.webhook_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    };
    let Some(world) = World::start_with(Sqlite, change).await else { return };
    receiver.always("/erp", Reply::Status(500));
    let retry = json!({"retry": {"schedule": vec!["200ms"; 50], "jitter": 0}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &retry)).await;
    for n in 0..6 {
        world.event(&invoice(n)).await;
    }
    let tried = receiver.wait_for("/last", 2).await;
    assert_eq!(tried[0].body, tried[1].body, "what was refused is sent again as it was");
    assert_eq!(tried[0].header("webhook-id"), tried[1].header("webhook-id"));
    let notice = tried[1].json();
    assert_eq!(notice["type"], "waybill.alert.firing");
    assert_eq!(notice["data"]["subject"]["name"], "erp");
    let signature =
        crate::support::standard_signature(&tried[1], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_eq!(tried[1].header("webhook-signature"), signature);
}

#[tokio::test]
async fn an_alert_is_acknowledged_and_silenced_by_who_may() {
    let Some(world) = World::start_with(Sqlite, at_once).await else { return };
    let receiver = Receiver::start().await;
    broken(&world, &receiver).await;
    let id = text(&alert_in_state(&world, "firing").await, "id");
    let reader = token(&world, &json!({"name": "r", "scopes": ["alerts:read"]})).await;
    let reader = world.client_with(Some(&reader));
    let ack = format!("/api/v1/alerts/{id}/acknowledge");
    let refused = reader.post(&ack, &json!({})).await.unwrap();
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let acked = world.post(&ack, &json!({})).await;
    assert_eq!(acked["acknowledged_by"], "admin");
    let silence = format!("/api/v1/alerts/{id}/silence");
    let silenced = world.post(&silence, &json!({"for": "2h"})).await;
    assert!(silenced["silenced_until"].is_string());
    for wrong in [json!({}), json!({"for": "2h", "until": "2030-01-01T00:00:00Z"})] {
        let answer = world.client().post(&silence, &wrong).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    }
    let rules = reader.get("/api/v1/alerts/rules").await.unwrap().data();
    assert_eq!(rules.as_array().unwrap().len(), 11);
    let nobody = reader.get("/api/v1/endpoints").await.unwrap();
    assert_eq!(nobody.status, StatusCode::FORBIDDEN);
    receiver.always("/erp", Reply::Status(204));
    alert_in_state(&world, "resolved").await;
    let over = world.client().post(&ack, &json!({})).await.unwrap();
    assert_eq!(over.status, StatusCode::CONFLICT, "{}", over.text());
    assert!(over.text().contains("cannot be acknowledged or silenced"), "{}", over.text());
}

#[tokio::test]
async fn who_takes_everything_gets_no_notices() {
    let Some(world) = World::start_with(Sqlite, at_once).await else { return };
    let receiver = Receiver::start().await;
    let all = json!({"events": ["*"]});
    world.endpoint(&endpoint_with("all", &receiver.url("/all"), &all)).await;
    broken(&world, &receiver).await;
    receiver.first("/ops").await;
    receiver.always("/erp", Reply::Status(204));
    alert_in_state(&world, "resolved").await;
    let got = receiver.wait_for("/all", 6).await;
    assert!(got.iter().all(|one| one.json()["event"] == "invoice.paid"));
    assert_eq!(receiver.count("/all"), 6);
}

#[tokio::test]
async fn nobody_else_can_send_what_reads_as_an_alert() {
    let Some(world) = World::start(Sqlite).await else { return };
    let send = async |path: &str, body: Value| world.client().post(path, &body).await.unwrap();
    let forged = json!({"type": "waybill.alert.firing", "data": {}});
    let of_waybill = json!({"type": "invoice.paid", "source": "waybill", "data": {"id": 1}});
    for event in [&forged, &of_waybill] {
        let answer = send("/api/v1/events", event.clone()).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    let answer = send("/api/v1/events", json!([invoice(1), forged])).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("[1].type"), "{}", answer.text());
    let source = json!({"name": "waybill", "kind": "webhook", "webhook": {"scheme": "standard"}});
    let answer = send("/api/v1/sources", source).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let named = json!({"scheme": "none", "places": {"event": "/name"},
                       "rename": {"alarm": "waybill.alert.firing"}});
    let source = json!({"name": "open", "kind": "webhook", "webhook": named});
    world.post("/api/v1/sources", &source).await;
    let answer = send("/in/open", json!({"name": "alarm"})).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}
