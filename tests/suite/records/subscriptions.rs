//! REST hooks: subscriptions of n8n, Zapier and Make, and samples of events.

use super::invoice;
use crate::support::{assert_problem, caller, hex_signature, texts};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

#[tokio::test]
async fn n8n_s_node_subscribes_receives_and_gives_up() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let settings = json!({"name": "n8n", "scopes": ["records:read", "endpoints:write"]});
    let n8n = caller(&world, &settings).await;
    // The credential test, with the node's own header.
    let key =
        world.post("/api/v1/tokens", &json!({"name": "key", "scopes": ["records:read"]})).await;
    let test = Call::new(Method::GET, "/api/v1/customers?per_page=1")
        .header("x-api-key", &text(&key, "token"));
    let answer = world.client_with(None).send(test).await.unwrap();
    assert_eq!((answer.status, answer.data()), (StatusCode::OK, json!([])));

    let url = receiver.url("/hook");
    let wanted = json!({
        "name": "n8n-webhook-42", "url": url, "events": ["invoice.paid", "payment_received"],
        "secret": "short", "is_active": 1,
    });
    let made = n8n.post("/api/v1/webhooks", &wanted).await.unwrap();
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let id = text(&made.data(), "id");
    assert_eq!(made.json()["id"], id.as_str(), "Zapier and Make look here");
    assert_eq!(made.data()["events"], json!(["invoice.paid", "payment.received"]));
    let path = format!("/api/v1/webhooks/{id}");
    assert!(n8n.get(&path).await.unwrap().data()["id"].is_string());
    let other = crate::support::merged(wanted.clone(), &json!({"url": receiver.url("/other")}));
    let other = n8n.post("/api/v1/webhooks", &other).await.unwrap();
    assert_eq!(other.data()["name"], "n8n-webhook-42-2", "a name that is taken gets a number");

    invoice(&world, "paid", 1, &json!({"status": "2"})).await;
    let arrival = receiver.first("/hook").await;
    assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, "short"));
    assert_eq!(arrival.json()["event"], "invoice.paid");

    for deleted in [true, false] {
        let answer = n8n.delete(&path).await.unwrap();
        assert_eq!((answer.status, &answer.data()["deleted"]), (StatusCode::OK, &json!(deleted)));
    }
    let gone = n8n.get(&path).await.unwrap();
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let list = n8n.get("/api/v1/webhooks").await.unwrap().data();
    assert_eq!(texts(&list, "name"), ["n8n-webhook-42-2"]);
}

#[tokio::test]
async fn zapier_and_make_subscribe_in_their_own_words() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (wanted, events) in [
        (
            json!({"targetUrl": "https://hooks.zapier.example/1", "event": "lead.created"}),
            json!(["lead.created"]),
        ),
        (json!({"url": "https://hook.make.example/2"}), json!(["*"])),
        (
            json!({"url": "https://x.example/", "events": "invoice_paid, invoice.*", "is_active": "0"}),
            json!(["invoice.paid", "invoice.*"]),
        ),
    ] {
        let made = world.client().post("/api/v1/webhooks", &wanted).await.unwrap();
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        assert_eq!(made.data()["events"], events);
        assert!(made.data()["secret"].as_str().unwrap().starts_with("whsec_"));
    }
    let wrong = world.client().post("/api/v1/webhooks", &json!({"url": "nowhere"})).await.unwrap();
    assert_problem(&wrong, StatusCode::UNPROCESSABLE_ENTITY, "url");
}

#[tokio::test]
async fn samples_look_like_deliveries() {
    let Some(world) = World::start(Sqlite).await else { return };
    let path = "/api/v1/events/samples/invoice.paid";
    let example = world.client().get(path).await.unwrap().json();
    assert_eq!(example.as_array().unwrap().len(), 1);
    assert_eq!(
        (&example[0]["event"], &example[0]["source"]),
        (&json!("invoice.paid"), &json!("example"))
    );
    assert!(example[0]["payload"]["id"].is_string());
    for id in 1..=4 {
        invoice(&world, "paid", id, &json!({})).await;
    }
    let samples = world.client().get(path).await.unwrap().json();
    let ids: Vec<&Value> =
        samples.as_array().unwrap().iter().map(|one| &one["payload"]["id"]).collect();
    assert_eq!(ids, ["4", "3", "2"]);
    assert!(samples[0]["id"].as_str().unwrap().starts_with("evt_"));
    let unknown = world.client().get("/api/v1/events/samples/ship.sunk").await.unwrap();
    assert_eq!((unknown.status, unknown.json()), (StatusCode::OK, json!([])), "nothing yet");
    let wrong = world.client().get("/api/v1/events/samples/in%20voice*").await.unwrap();
    assert_problem(&wrong, StatusCode::UNPROCESSABLE_ENTITY, "pattern");
}

/// A workflow is mapped from a sample: a member that the sample lacks cannot be mapped.
#[tokio::test]
async fn samples_have_the_members_of_live_bodies() {
    let Some(world) = World::start(Sqlite).await else { return };
    let samples = async |name: &str| {
        let path = format!("/api/v1/events/samples/{name}");
        let answer = world.client().get(&path).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
        answer.json()
    };
    let example = samples("invoice.updated").await;
    assert!(!example[0]["changed"].as_array().unwrap().is_empty(), "{example}");
    let name = example[0]["changed"][0].as_str().unwrap();
    assert_ne!(example[0]["previous"][name], example[0]["payload"][name], "{example}");
    assert_eq!(samples("invoice.updated").await, example, "the same at every call");
    assert_eq!(samples("invoice_updated").await, example, "by any of its names");
    assert_eq!(samples("invoice.created").await[0]["changed"], Value::Null);
    let catalogue = world.get("/api/v1/event-types/invoice.updated").await;
    assert_eq!(catalogue["example_changes"]["changed"], example[0]["changed"]);

    for pattern in ["invoice.*", "*"] {
        let examples = samples(pattern).await;
        assert_eq!(examples.as_array().unwrap().len(), 3, "{pattern}");
        let is_asked_for = |one: &Value| pattern == "*" || one["resource"] == "invoice";
        assert!(examples.as_array().unwrap().iter().all(is_asked_for), "{examples}");
    }
    world.event(&json!({"type": "lead.created", "data": {"id": "9"}})).await;
    invoice(&world, "paid", 1, &json!({})).await;
    let found = samples("invoice.*").await;
    assert_eq!(texts(&found, "event"), ["invoice.paid"]);
    assert_eq!(texts(&samples("*").await, "event"), ["invoice.paid", "lead.created"]);
    assert_eq!(samples("ship.*").await, json!([]));
}

#[tokio::test]
async fn the_same_subscription_twice_is_one() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let receiver = Receiver::start().await;
        let wanted = json!({"url": receiver.url("/hook"), "events": ["t.x", "t.y"]});
        let post =
            async |body: Value| world.client().post("/api/v1/webhooks", &body).await.unwrap();
        let made = futures_util::future::join_all((0..4).map(|_| post(wanted.clone()))).await;
        let id = text(&made[0].json(), "id");
        let created = made.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
        assert_eq!(created, 1);
        assert!(made.iter().all(|answer| answer.json()["id"] == id.as_str()));
        let turned = json!({"url": receiver.url("/hook"), "events": ["t.y", "t.x"]});
        assert_eq!(post(turned).await.json()["id"], id.as_str(), "in any order");
        world.event(&json!({"type": "t.x", "data": {"n": 1}})).await;
        let arrivals = receiver.wait_for("/hook", 1).await;
        assert_eq!(arrivals.len(), 1);
        let deliveries = world.get("/api/v1/deliveries").await;
        assert_eq!(deliveries.as_array().unwrap().len(), 1);

        // Given fields are taken over, and other fields make another subscription.
        let secret = crate::support::merged(wanted.clone(), &json!({"secret": "another"}));
        let answer = post(secret).await;
        assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::OK, &json!(id)));
        world.event(&json!({"type": "t.y", "data": {"n": 2}})).await;
        let arrival = receiver.wait_for("/hook", 2).await.remove(1);
        assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, "another"));
        for other in [
            json!({"url": receiver.url("/else"), "events": ["t.x", "t.y"]}),
            json!({"url": receiver.url("/hook"), "events": ["t.x"]}),
            json!({"url": receiver.url("/hook"), "events": ["t.x", "t.y"], "name": "mine"}),
        ] {
            let answer = post(other.clone()).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{other}");
            assert_ne!(answer.json()["id"], id.as_str());
        }
        // An operator's endpoint with more settings is not a subscription.
        let more = json!({"name": "webhook-9", "url": receiver.url("/more"), "events": ["t.x"], "mode": "smart"});
        world.endpoint(&more).await;
        let answer = post(json!({"url": receiver.url("/more"), "events": ["t.x"]})).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_subscription_ends_when_its_receiver_says_gone() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let receiver = Receiver::start().await;
        receiver.always("/gone", Reply::Status(410));
        let wanted = json!({"targetUrl": receiver.url("/gone"), "event": "t.x"});
        let made = world.client().post("/api/v1/webhooks", &wanted).await.unwrap();
        assert_eq!(
            (&made.data()["is_active"], &made.data()["on_gone"]),
            (&json!(1), &json!("disable"))
        );
        let path = format!("/api/v1/webhooks/{}", text(&made.data(), "id"));
        world.event(&json!({"type": "t.x", "data": {"n": 1}})).await;
        world.eventually(&path, |webhook| webhook["is_active"] == 0).await;
        // The endpoint is disabled before the attempt is recorded.
        world.eventually("/api/v1/dead-letters", |found| found[0]["reason"] == "gone").await;
        world.event(&json!({"type": "t.x", "data": {"n": 2}})).await;
        assert_eq!(world.get("/api/v1/deliveries").await.as_array().unwrap().len(), 1);

        // A new subscription activates it again.
        receiver.always("/gone", Reply::Status(200));
        let again = world.client().post("/api/v1/webhooks", &wanted).await.unwrap();
        assert_eq!(
            (&again.data()["id"], &again.data()["is_active"]),
            (&made.data()["id"], &json!(1))
        );
        world.event(&json!({"type": "t.x", "data": {"n": 3}})).await;
        receiver.wait_for("/gone", 2).await;

        let stays = crate::support::merged(wanted.clone(), &json!({"on_gone": "retry"}));
        let stays = world.client().post("/api/v1/webhooks", &stays).await.unwrap();
        assert_eq!(stays.data()["on_gone"], "retry");
    }
}

#[tokio::test]
async fn what_a_subscription_says_is_obeyed_or_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let with = |more: Value| {
        let wanted = json!({"url": "https://hook.example/1", "events": ["t.x"]});
        crate::support::merged(wanted, &more)
    };
    for (flag, active) in [
        (json!(0), 0),
        (json!(false), 0),
        (json!("false"), 0),
        (json!(1), 1),
        (json!("True"), 1),
        (Value::Null, 1),
    ] {
        let wanted = with(json!({"is_active": flag}));
        let made = world.client().post("/api/v1/webhooks", &wanted).await.unwrap();
        assert_eq!(made.data()["is_active"], active, "{flag}: {}", made.text());
    }
    for (more, path) in [
        (json!({"is_active": 2}), "is_active"),
        (json!({"is_active": "off"}), "is_active"),
        (json!({"is_active": []}), "is_active"),
        (json!({"on_gone": "delete"}), "on_gone"),
    ] {
        let answer = world.client().post("/api/v1/webhooks", &with(more.clone())).await.unwrap();
        let errors = crate::support::problem(&answer, 422);
        assert_eq!(errors[0].0, path, "{more}");
    }
}
