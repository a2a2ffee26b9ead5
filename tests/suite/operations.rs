//! Endpoints of kind `api`: operations, their answers as events, and writing through to the CRM.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::text;
use waybill_tests::{LeadApi, LeadFault, Receiver, Reply, World};

use crate::support::{announce, caller, endpoint_with, merged, problem, seed};

const DEAD: &str = "/api/v1/dead-letters";
/// Number of leads that are sent to a CRM that cuts connections.
const LEADS: usize = 200;
/// Number of leads after which the server is killed.
const KILLED_AFTER: usize = 80;
/// The key of the endpoint at the CRM.
const KEY: &str = "pk_0123456789";

/// Returns an endpoint of kind `api` at a URL, with these settings.
fn api(url: &str, settings: &Value, more: &Value) -> Value {
    let auth = json!({"kind": "api_key", "in": "header", "name": "X-API-KEY", "value": KEY});
    let own =
        json!({"kind": "api", "settings": settings, "auth": auth, "events": ["lead.captured"]});
    endpoint_with("crm", url, &merged(own, more))
}

fn json_reply(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Full { status, headers, body: Bytes::from(body.to_string()) }
}

fn lead(n: usize) -> Value {
    json!({"type": "lead.captured", "source": "web", "data": {"name": "Zoë", "email": format!("lead-{n}")}})
}

/// Returns random faults, which a seed reproduces.
fn choose_faults(seed: u64) -> impl FnMut() -> LeadFault {
    let mut random = StdRng::seed_from_u64(seed);
    move || match random.random_range(0..10) {
        0 | 1 => LeadFault::CutBefore,
        2..=4 => LeadFault::CutAfter,
        5 => LeadFault::Busy,
        6 => LeadFault::FailAfter,
        _ => LeadFault::None,
    }
}

/// Returns the events that a receiver got, by their ids, which identify repeats.
fn known_events(receiver: &Receiver, path: &str) -> BTreeMap<String, Value> {
    let arrivals = receiver.arrivals(path);
    arrivals.iter().map(|arrival| (text(&arrival.json(), "id"), arrival.json())).collect()
}

#[rstest]
#[tokio::test]
async fn a_crm_that_cuts_the_line_gets_each_lead_once(#[values(Sqlite)] backend: Backend) {
    let seed = seed();
    announce(&format!("WAYBILL_CRASH_SEED={seed}"));
    let Some(mut world) = World::start(backend).await else { return };
    let (crm, receiver) = (LeadApi::start(choose_faults(seed)).await, Receiver::start().await);
    let settings = json!({"operations": {"lead_create": {
        "path": "/leads", "body": {"name": "=data.name", "email": "=data.email"},
        "reply": {"event": "crm.lead.created", "id": "/data/id"},
        "again": {"path": "/leads", "query": {"email": "=data.email"}, "found": "/data/0/id"}}}});
    let patient = json!({"retry": {"schedule": vec!["20ms"; 50], "jitter": 0.0}, "timeout": "5s"});
    world.endpoint(&api(&crm.url(), &settings, &patient)).await;
    let after = json!({"events": ["crm.lead.created"], "timeout": "5s"});
    world.endpoint(&endpoint_with("after", &receiver.url("/after"), &after)).await;
    let sent: Vec<Value> = (0..LEADS).map(lead).collect();
    world.post("/api/v1/events", &Value::Array(sent)).await;
    crm.wait_for(KILLED_AFTER).await;
    world.kill9();
    world.restart();
    let mut seen = LEADS;
    while known_events(&receiver, "/after").len() < LEADS {
        receiver.wait_for("/after", seen).await;
        seen += 1;
    }
    let leads = crm.leads();
    let emails: BTreeSet<String> = leads.iter().map(|lead| text(&lead.data, "email")).collect();
    assert_eq!((leads.len(), emails.len()), (LEADS, LEADS), "created equals sent");
    let events = known_events(&receiver, "/after");
    let of_crm: BTreeSet<String> = leads.iter().map(|lead| lead.id.to_string()).collect();
    let told: BTreeSet<String> = events.values().map(|event| text(event, "resource_id")).collect();
    assert_eq!((events.len(), told), (LEADS, of_crm), "one event for each lead, with its id");
    let keys: BTreeSet<&str> = leads.iter().map(|lead| lead.key.as_str()).collect();
    let requests: BTreeSet<String> =
        events.values().map(|event| text(&event["payload"], "request_id")).collect();
    assert_eq!(requests.iter().map(String::as_str).collect::<BTreeSet<_>>(), keys);
    // No further requests come, because all deliveries are over.
    world
        .eventually("/api/v1/deliveries?endpoint=crm&status=pending", |found| found == &json!([]))
        .await;
    assert_eq!(crm.leads().len(), LEADS);
}

#[rstest]
#[tokio::test]
async fn an_answer_is_an_event_of_the_endpoint(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver
        .script("/api/v1/leads", [json_reply(201, &json!({"data": {"id": 17, "total": "9.90"}}))]);
    let settings = json!({"preset": "perfexapi",
                          "operations": {"lead_create": {"events": ["lead.*"]}}});
    world.endpoint(&api(&receiver.url(""), &settings, &json!({}))).await;
    let after = json!({"events": ["crm.lead.created"]});
    world.endpoint(&endpoint_with("after", &receiver.url("/after"), &after)).await;
    world.event(&lead(1)).await;
    let arrival = receiver.first("/api/v1/leads").await;
    assert_eq!((arrival.method.as_str(), arrival.header("x-api-key")), ("POST", KEY));
    assert_eq!(arrival.json(), json!({"name": "Zoë", "email": "lead-1"}));
    let request = arrival.header("idempotency-key").to_owned();
    assert!(request.starts_with("dlv_"), "{request}");
    let told = receiver.first("/after").await.json();
    assert_eq!((&told["event"], &told["source"]), (&json!("crm.lead.created"), &json!("crm")));
    assert_eq!((&told["resource"], &told["resource_id"]), (&json!("lead"), &json!("17")));
    let payload = json!({"request_id": request, "status": 201, "id": "17", "repeated": false,
                         "body": {"data": {"id": 17, "total": "9.90"}}});
    assert_eq!(told["payload"], payload);
    let event = world.get(&format!("/api/v1/events/{}", text(&told, "id"))).await;
    assert_eq!(event["attributes"]["waybill-caused-by"], request.as_str(), "{event:#}");
    assert_eq!(event["attributes"]["waybillhops"], 1);
    let delivery = world.get(&format!("/api/v1/deliveries/{request}")).await;
    let sent = &delivery["attempts"][0]["request_headers"];
    assert_eq!(sent["x-api-key"], "***", "{delivery:#}");
    assert_eq!(sent["(request)"], format!("POST {}", receiver.url("/api/v1/leads")));
}

#[rstest]
#[tokio::test]
async fn a_refusal_is_final_and_its_answer_is_kept(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let refused = json!({"message": "email is taken"});
    let made = json_reply(201, &json!({"data": {"id": 1}}));
    receiver.script("/leads", [json_reply(422, &refused), Reply::Status(409), made]);
    let settings = json!({"operations": {"lead_create": {"path": "/leads"}}});
    world.endpoint(&api(&receiver.url(""), &settings, &json!({}))).await;
    world.event(&lead(1)).await;
    let letters = world.eventually(DEAD, |found| found[0].is_object()).await;
    let letter = world.get(&format!("{DEAD}/{}", text(&letters[0], "id"))).await;
    assert_eq!(letter["reason"], "rejected");
    let attempts = letter["delivery"]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["status"]), (1, &json!(422)), "{letter:#}");
    assert!(text(&attempts[0], "response_body").contains("email is taken"));
    // 409 is tried again.
    world.event(&lead(2)).await;
    let arrivals = receiver.wait_for("/leads", 3).await;
    assert_eq!(arrivals[1].header("idempotency-key"), arrivals[2].header("idempotency-key"));
    let delivered = "/api/v1/deliveries?endpoint=crm&status=delivered";
    world.eventually(delivered, |found| found[0].is_object()).await;
}

#[tokio::test]
async fn an_event_without_an_operation_is_a_dead_letter() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&api(&receiver.url(""), &json!({"preset": "perfexapi"}), &json!({}))).await;
    world.event(&lead(1)).await;
    let letters = world.eventually(DEAD, |found| found[0].is_object()).await;
    assert_eq!(letters[0]["reason"], "rejected");
    assert!(text(&letters[0], "detail").contains("no operation accepts `lead.captured`"));
}

#[tokio::test]
async fn answers_that_cause_themselves_come_to_an_end() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/leads", json_reply(200, &json!({"id": 1})));
    let settings = json!({"operations": {"loop": {
        "path": "/leads", "reply": {"event": "crm.lead.created", "id": "/id"}}}});
    let more = json!({"events": ["lead.captured", "crm.lead.created"]});
    world.endpoint(&api(&receiver.url(""), &settings, &more)).await;
    world.event(&lead(1)).await;
    // The first event, and eight that were made from answers.
    let arrivals = receiver.wait_for("/leads", 9).await;
    let last = format!("/api/v1/deliveries/{}", arrivals[8].header("idempotency-key"));
    let last = world.eventually(&last, |found| found["status"] == "delivered").await;
    let told = text(&last["attempts"][0]["request_headers"], "(reply)");
    assert!(told.contains("no event `crm.lead.created`"), "{told}");
    let events = world.get("/api/v1/events?type=crm.lead.created").await;
    assert_eq!((events.as_array().unwrap().len(), receiver.count("/leads")), (8, 9));
}

#[tokio::test]
async fn an_operation_is_run_by_a_call_and_shown_without_secrets() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/api/v1/leads", json_reply(201, &json!({"data": {"id": 5}})));
    world.endpoint(&api(&receiver.url(""), &json!({"preset": "perfexapi"}), &json!({}))).await;
    let listed = world.get("/api/v1/endpoints/crm/operations").await;
    let create = listed.as_array().unwrap().iter().find(|one| one["name"] == "lead_create");
    let create = create.unwrap();
    assert_eq!((&create["method"], &create["path"]), (&json!("POST"), &json!("/api/v1/leads")));
    let path = "/api/v1/endpoints/crm/operations/lead_create";
    let dry = world.client().post(path, &json!({"data": {"name": "A"}, "dry_run": true})).await;
    let dry = dry.unwrap().data();
    assert_eq!(dry["request"]["url"], receiver.url("/api/v1/leads"));
    assert_eq!(
        (&dry["request"]["headers"]["x-api-key"], &dry["request"]["body"]),
        (&json!("***"), &json!({"name": "A"}))
    );
    assert_eq!(receiver.count("/api/v1/leads"), 0, "nothing was sent");
    let mut keys = BTreeSet::new();
    for _ in 0..2 {
        let call = Call::post(path, "application/json", r#"{"data":{"name":"A"}}"#);
        let answer = world.client().send(call.header("idempotency-key", "one")).await.unwrap();
        assert_eq!(
            (answer.data()["status"].clone(), answer.data()["body"]["data"]["id"].clone()),
            (json!(201), json!(5)),
            "{}",
            answer.text()
        );
    }
    for arrival in receiver.arrivals("/api/v1/leads") {
        keys.insert(arrival.header("idempotency-key").to_owned());
    }
    assert_eq!(keys.len(), 1, "one key of the caller's, one of the request's: {keys:?}");
    let answer =
        world.client().post("/api/v1/endpoints/crm/operations/lead_creat", &json!({})).await;
    let answer = answer.unwrap();
    problem(&answer, 404);
    assert!(text(&answer.json(), "detail").contains("did you mean `lead_create`?"));
}

#[tokio::test]
async fn running_operations_needs_a_scope_of_its_own() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/api/v1/leads", json_reply(201, &json!({"data": {"id": 5}})));
    world.endpoint(&api(&receiver.url(""), &json!({"preset": "perfexapi"}), &json!({}))).await;
    for (scope, status) in [("endpoints:write", 403), ("operations:run", 200)] {
        let name = scope.replace(':', "-");
        let made = world.post("/api/v1/tokens", &json!({"name": name, "scopes": [scope]})).await;
        let client = world.client_with(Some(&text(&made, "token")));
        let path = "/api/v1/endpoints/crm/operations/lead_create";
        let answer = client.post(path, &json!({"data": {}})).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{scope}: {}", answer.text());
    }
    let calls = world.get("/api/v1/audit?limit=50").await.to_string();
    assert!(calls.contains("/api/v1/endpoints/{id}/operations/{name}"), "{calls}");
}

#[tokio::test]
async fn records_are_written_through_to_the_crm() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let settings = json!({"preset": "perfexapi", "writes_for": "crm"});
    let answer = world.client().post("/api/v1/leads", &json!({"name": "A"})).await.unwrap();
    problem(&answer, 409);
    world.endpoint(&api(&receiver.url(""), &settings, &json!({"events": []}))).await;
    let lead = json!({"data": {"id": 7, "name": "A"}});
    receiver.always("/api/v1/leads", json_reply(201, &lead));
    receiver.always("/api/v1/leads/7", json_reply(200, &lead));
    receiver.always("/api/v1/leads/8", json_reply(404, &json!({"message": "no such lead"})));
    let client = world.client();
    let made = client.post("/api/v1/leads", &json!({"name": "A", "value": "1.50"})).await.unwrap();
    assert_eq!((made.status, made.json()), (StatusCode::CREATED, lead.clone()));
    assert_eq!(receiver.first("/api/v1/leads").await.json(), json!({"name": "A", "value": "1.50"}));
    let changed = client.put("/api/v1/leads/7", &json!({"name": "B"})).await.unwrap();
    assert_eq!((changed.status, changed.json()), (StatusCode::OK, lead));
    let gone = client.delete("/api/v1/leads/8").await.unwrap();
    assert_eq!((gone.status.as_u16(), gone.json()), (404, json!({"message": "no such lead"})));
    let assigned = client.post("/api/v1/tickets/5/assign", &json!({"staff": 1})).await.unwrap();
    assert_eq!(assigned.status, StatusCode::OK, "{}", assigned.text());
    let arrival = receiver.first("/api/v1/tickets/5/assign").await;
    assert_eq!((arrival.method.as_str(), arrival.json()), ("POST", json!({"staff": 1})));
    let methods: Vec<String> =
        receiver.arrivals("/api/v1/leads/7").into_iter().map(|arrival| arrival.method).collect();
    assert_eq!(methods, ["PUT"]);
    let unknown = client.send(Call::new(Method::POST, "/api/v1/nothings")).await.unwrap();
    problem(&unknown, 404);
    // An answer about the endpoint's key is not one about the caller's.
    receiver.always("/api/v1/leads", Reply::Status(401));
    problem(&client.post("/api/v1/leads", &json!({})).await.unwrap(), 502);
}

#[tokio::test]
async fn an_action_reaches_no_table_that_its_token_is_not_for() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let settings = json!({"writes_for": "crm", "operations": {
        "lead_status_create": {"path": "/statuses"}, "lead_convert": {"path": "/convert"}}});
    world.endpoint(&api(&receiver.url(""), &settings, &json!({"events": []}))).await;
    let leads = json!({"name": "leads", "scopes": ["operations:run"], "tables": ["lead"]});
    let client = caller(&world, &leads).await;
    let post = async |path: &str| client.post(path, &json!({})).await.unwrap();
    problem(&post("/api/v1/leads/17/status-create").await, 403);
    assert_eq!(receiver.arrivals("/statuses").len(), 0);
    let answer = post("/api/v1/leads/17/convert").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[rstest]
#[case(json!({"preset": "perfex"}), "settings.preset")]
#[case(json!({}), "settings.operations")]
#[case(json!({"operations": {"a": {"path": "/x/{data.id"}}}), "settings.operations.a.path")]
#[case(json!({"operations": {"a": {"path": "/x", "reply": {"event": "x"}}}}), "settings.operations.a.reply.event")]
#[tokio::test]
async fn a_fault_of_an_operation_is_named_at_its_place(
    #[case] settings: Value,
    #[case] place: &str,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let given = api("https://crm.example.com", &settings, &json!({}));
    let answer = world.client().post("/api/v1/endpoints", &given).await.unwrap();
    let faults = problem(&answer, 422);
    assert_eq!(faults[0].0, place, "{faults:?}");
}
