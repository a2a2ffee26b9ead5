//! Endpoints of kind `pull`: consumers fetch deliveries under a lease and commit them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{LIMIT, binary, text};
use waybill_tests::{Arrival, Client, Receiver, Reply, Server, Settings, World};

use crate::support::{assert_problem, caller, invoice, merged, problem, verified};

const PULL: &str = "/api/v1/pull/warehouse";
const COMMIT: &str = "/api/v1/pull/warehouse/commit";

fn endpoint(more: &Value) -> Value {
    let endpoint = json!({
        "name": "warehouse", "kind": "pull", "url": "pull://warehouse", "events": ["invoice.*"],
        "retry": {"schedule": ["50ms", "50ms"], "jitter": 0.0},
    });
    merged(endpoint, more)
}

/// Starts a world whose deliveries a consumer fetches. Returns it with the endpoint's secret.
async fn start(backend: Backend, more: &Value) -> Option<(World, String)> {
    let world = World::start_with(backend, with_key).await?;
    let made = world.endpoint(&endpoint(more)).await;
    Some((world, text(&made, "secret")))
}

/// Gives all nodes of a database one key.
fn with_key(settings: &mut Settings) {
    settings.environment("WAYBILL_SECRET_KEY", "one-key-of-all-nodes-0123456789");
}

async fn capture(world: &World, numbers: std::ops::Range<u32>) {
    let events: Vec<Value> = numbers.map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
}

/// A page that was fetched.
#[derive(Debug, Clone)]
struct Page(Value);

impl Page {
    fn items(&self) -> &[Value] {
        self.0["data"].as_array().unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.items().iter().map(|item| text(item, "id")).collect()
    }

    fn cursor(&self) -> Value {
        self.0["cursor"].clone()
    }
}

async fn fetch(client: &Client, query: &str) -> Page {
    let answer = client.get(&format!("{PULL}?{query}")).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    Page(answer.json())
}

/// Fetches until a page has deliveries.
async fn fetch_some(client: &Client, query: &str) -> Page {
    let deadline = Instant::now() + LIMIT;
    loop {
        let page = fetch(client, query).await;
        if !page.items().is_empty() {
            return page;
        }
        assert!(Instant::now() < deadline, "nothing is offered");
        tokio::task::yield_now().await;
    }
}

async fn commit(client: &Client, page: &Page, failed: &Value) -> Value {
    let body = json!({"cursor": page.cursor(), "failed": failed});
    let answer = client.post(COMMIT, &body).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    answer.data()
}

/// Returns an item as the request that a webhook would be.
fn as_arrival(item: &Value) -> Arrival {
    let mut headers = HeaderMap::new();
    for (name, value) in item["headers"].as_object().unwrap() {
        let name = HeaderName::try_from(name).unwrap();
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    Arrival {
        method: "POST".to_owned(),
        path: String::new(),
        headers,
        body: Bytes::from(text(item, "body")),
        at: Instant::now(),
        wall: SystemTime::now(),
    }
}

async fn delivery(world: &World, id: &str) -> Value {
    world.get(&format!("/api/v1/deliveries/{id}")).await
}

#[rstest]
#[tokio::test]
async fn a_page_is_signed_and_delivered_by_its_commit(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, secret)) = start(backend, &json!({})).await else { return };
    capture(&world, 0..5).await;
    let page = fetch(world.client(), "limit=3").await;
    assert_eq!(page.items().len(), 3, "{page:?}");
    for item in page.items() {
        let arrival = as_arrival(item);
        assert!(verified(&arrival, &secret), "{item:#}");
        assert_eq!(arrival.header("webhook-id"), text(item, "id"));
        assert_eq!(arrival.header("x-waybill-attempt"), "1");
        assert_eq!(arrival.json()["event"], "invoice.paid");
    }
    let ids = page.ids();
    assert_eq!(delivery(&world, &ids[0]).await["status"], "leased");
    let rest = fetch(world.client(), "").await;
    assert_eq!(rest.items().len(), 2, "what is leased is not offered: {rest:?}");
    let empty = fetch(world.client(), "").await;
    assert!(empty.items().is_empty() && empty.cursor().is_null(), "{empty:?}");

    let receipt = commit(world.client(), &page, &json!({})).await;
    assert_eq!(receipt, json!({"committed": 3, "failed": 0}));
    for id in &ids {
        let delivered = delivery(&world, id).await;
        assert_eq!(delivered["status"], "delivered");
        assert_eq!(delivered["attempts"].as_array().unwrap().len(), 1, "{delivered:#}");
    }
    let again = commit(world.client(), &page, &json!({})).await;
    assert_eq!(again, json!({"committed": 0, "failed": 0}));
    assert_eq!(delivery(&world, &rest.ids()[0]).await["status"], "leased");
}

#[rstest]
#[tokio::test]
async fn what_is_not_committed_is_offered_again_until_it_is_dead(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, _)) = start(backend, &json!({})).await else { return };
    capture(&world, 0..1).await;
    let first = fetch(world.client(), "lease=1s").await;
    let second = fetch_some(world.client(), "lease=1s").await;
    assert_eq!(second.ids(), first.ids(), "under the same webhook-id");
    assert_eq!(as_arrival(&second.items()[0]).header("x-waybill-attempt"), "2");
    let late = commit(world.client(), &first, &json!({})).await;
    assert_eq!(late, json!({"committed": 0, "failed": 0}), "the first lease is over");
    let third = fetch_some(world.client(), "lease=1s").await;
    assert_eq!(third.ids(), first.ids());
    let deadline = Instant::now() + LIMIT;
    let id = &first.ids()[0];
    while delivery(&world, id).await["status"] != "dead" {
        assert!(fetch(world.client(), "lease=1s").await.items().is_empty());
        assert!(Instant::now() < deadline, "{:#}", delivery(&world, id).await);
    }
    let dead = delivery(&world, id).await;
    let attempts = dead["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3, "{dead:#}");
    for attempt in attempts {
        assert_eq!(attempt["error_class"], "timeout");
        assert!(text(attempt, "error").starts_with("the consumer did not commit it until "));
    }
    let letters = world.get("/api/v1/dead-letters").await;
    assert_eq!(letters[0]["reason"], "retries_exhausted", "{letters:#}");
}

#[tokio::test]
async fn a_consumer_returns_what_it_cannot_take() {
    let Some((world, _)) = start(Sqlite, &json!({})).await else { return };
    capture(&world, 0..2).await;
    let page = fetch(world.client(), "").await;
    let ids = page.ids();
    let receipt = commit(world.client(), &page, &json!({&ids[1]: "the stock is locked"})).await;
    assert_eq!(receipt, json!({"committed": 1, "failed": 1}));
    assert_eq!(delivery(&world, &ids[0]).await["status"], "delivered");
    let returned = delivery(&world, &ids[1]).await;
    assert_eq!(returned["attempts"][0]["error"], "the stock is locked", "{returned:#}");
    let again = fetch_some(world.client(), "").await;
    assert_eq!(again.ids(), [ids[1].clone()]);
    commit(world.client(), &again, &json!({})).await;
    assert_eq!(delivery(&world, &ids[1]).await["status"], "delivered");
}

#[tokio::test]
async fn deliveries_of_one_record_come_one_after_the_other() {
    let Some((world, _)) = start(Sqlite, &json!({"ordered": true})).await else { return };
    for total in 1..=3 {
        let event = json!({"type": "invoice.paid", "resource": "invoice", "resource_id": "7",
            "data": {"total": total}});
        world.event(&event).await;
    }
    for total in 1..=3 {
        let page = fetch_some(world.client(), "").await;
        assert_eq!(page.items().len(), 1, "{page:?}");
        assert_eq!(as_arrival(&page.items()[0]).json()["payload"]["total"], total);
        assert!(fetch(world.client(), "").await.items().is_empty());
        commit(world.client(), &page, &json!({})).await;
    }
}

#[tokio::test]
async fn filters_and_field_maps_hold_for_what_is_fetched() {
    let more = json!({"where": "int(data.id) >= 2", "field_map": {"include": ["id"]}});
    let Some((world, _)) = start(Sqlite, &more).await else { return };
    capture(&world, 0..4).await;
    let page = fetch(world.client(), "").await;
    let data = page.items().iter().map(|item| as_arrival(item).json()["payload"].clone());
    assert_eq!(data.collect::<Vec<Value>>(), [json!({"id": 2}), json!({"id": 3})]);
}

#[tokio::test]
async fn who_may_not_fetch_is_told_why() {
    let Some((world, _)) = start(Sqlite, &json!({})).await else { return };
    capture(&world, 0..1).await;
    let reader = caller(&world, &json!({"name": "reader", "scopes": ["deliveries:read"]})).await;
    assert_problem(&reader.get(PULL).await.unwrap(), 403.try_into().unwrap(), "deliveries:pull");
    let consumer = json!({"name": "consumer", "scopes": ["deliveries:pull"]});
    let consumer = caller(&world, &consumer).await;
    assert_eq!(consumer.get("/api/v1/deliveries").await.unwrap().status, 403);
    let pause = json!({"enabled": false});
    world.client().patch("/api/v1/endpoints/warehouse", &pause).await.unwrap();
    assert_problem(&consumer.get(PULL).await.unwrap(), 409.try_into().unwrap(), "disabled");
    let resume = json!({"enabled": true});
    world.client().patch("/api/v1/endpoints/warehouse", &resume).await.unwrap();
    let page = fetch(&consumer, "").await;
    assert_eq!(commit(&consumer, &page, &json!({})).await["committed"], 1);
    let hook = json!({"name": "hook", "url": "https://h.example/hook"});
    world.endpoint(&hook).await;
    let sent = consumer.get("/api/v1/pull/hook").await.unwrap();
    assert_problem(&sent, 409.try_into().unwrap(), "`webhook`");
    for (query, place) in [("limit=0", "limit"), ("lease=2h", "lease"), ("lease=x", "lease")] {
        let refused = consumer.get(&format!("{PULL}?{query}")).await.unwrap();
        assert_eq!(problem(&refused, 422)[0].0, place);
    }
    let refused = consumer.post(COMMIT, &json!({"cursor": "x"})).await.unwrap();
    assert_eq!(problem(&refused, 422)[0].0, "cursor");
    for (field, value) in
        [("timeout", json!("5s")), ("mode", json!("immediate")), ("max_in_flight", json!(1))]
    {
        let slow = json!({"name": "slow", "kind": "pull", "url": "pull://slow", field: value});
        let refused = world.client().post("/api/v1/endpoints", &slow).await.unwrap();
        assert_eq!(problem(&refused, 422)[0].0, field);
    }
}

/// Fetches and commits until nothing is left. Counts each delivery, also those of pages that this
/// consumer forgets as one that was killed.
async fn consume(client: Client, forget_every: usize, taken: &mut BTreeMap<String, u32>) {
    let mut pages = 0;
    let deadline = Instant::now() + LIMIT;
    // A busy machine may need more than a second from the fetch to the commit.
    let lease = if forget_every > 0 { "1s" } else { "1m" };
    loop {
        // A node that was killed does not answer.
        let Ok(answer) = client.get(&format!("{PULL}?limit=20&lease={lease}")).await else {
            return;
        };
        if !answer.status.is_success() {
            return;
        }
        let page = Page(answer.json());
        if page.items().is_empty() {
            let left = client.get("/api/v1/deliveries?limit=1&status=leased").await;
            let waiting = client.get("/api/v1/deliveries?limit=1&status=pending").await;
            let is_over = [left, waiting]
                .into_iter()
                .all(|found| found.is_ok_and(|found| found.data() == json!([])));
            if is_over {
                return;
            }
            assert!(Instant::now() < deadline, "deliveries are left over");
            continue;
        }
        pages += 1;
        if forget_every > 0 && pages % forget_every == 0 {
            continue;
        }
        let body = json!({"cursor": page.cursor()});
        let Ok(answer) = client.post(COMMIT, &body).await else { return };
        // A page whose lease is over is not committed, and another consumer gets it.
        if answer.data()["committed"] == page.items().len() {
            for id in page.ids() {
                *taken.entry(id).or_default() += 1;
            }
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_consumers_share_the_deliveries(#[values(Sqlite, Postgres)] backend: Backend) {
    let patient = json!({"retry": {"schedule": vec!["50ms"; 50]}});
    let Some((world, _)) = start(backend, &patient).await else { return };
    capture(&world, 0..200).await;
    let consumers = (0..4).map(|n| {
        let client = world.client().clone();
        async move {
            let mut taken = BTreeMap::new();
            // One of them is killed after every third page.
            consume(client, if n == 0 { 3 } else { 0 }, &mut taken).await;
            taken
        }
    });
    let mut all = BTreeMap::<String, u32>::new();
    for taken in join_all(consumers).await {
        for (id, times) in taken {
            *all.entry(id).or_default() += times;
        }
    }
    assert_eq!(all.len(), 200, "none is lost");
    assert!(all.values().all(|times| *times == 1), "each is committed once: {all:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_the_server_that_gave_it(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(true, false)] is_killed: bool,
) {
    let Some((mut world, _)) = start(backend, &json!({})).await else { return };
    capture(&world, 0..50).await;
    let page = fetch(world.client(), "limit=30&lease=1h").await;
    if is_killed {
        world.kill9();
    } else {
        world.stop();
    }
    world.restart();
    let rest = fetch_some(world.client(), "limit=200").await;
    assert_eq!(rest.items().len(), 20, "the lease is held");
    assert_eq!(commit(world.client(), &page, &json!({})).await["committed"], 30);
    assert_eq!(commit(world.client(), &rest, &json!({})).await["committed"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_offer_each_delivery_to_one_consumer() {
    let patient = json!({"retry": {"schedule": vec!["50ms"; 50]}});
    let Some((mut world, _)) = start(Postgres, &patient).await else { return };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let beside = |folder: &Path| {
        let mut settings = world.settings().clone();
        settings.set("server.listen", "127.0.0.1:0");
        settings.set("server.data_dir", folder.to_str().unwrap());
        Server::start(&settings).unwrap()
    };
    let others: Vec<Server> = folders.iter().map(|folder| beside(folder.path())).collect();
    capture(&world, 0..300).await;
    let first = fetch(world.client(), "limit=40&lease=1s").await;
    let addresses = others.iter().map(|server| Client::new(server.address(), Some(ADMIN_TOKEN)));
    let clients: Vec<Client> = addresses.collect();
    // The first node and its consumer are killed with a page in their hands.
    world.kill9();
    let consumers = clients.into_iter().map(|client| async move {
        let mut taken = BTreeMap::new();
        consume(client, 0, &mut taken).await;
        taken
    });
    let mut all = BTreeMap::<String, u32>::new();
    for taken in join_all(consumers).await {
        for (id, times) in taken {
            *all.entry(id).or_default() += times;
        }
    }
    assert_eq!(all.len(), 300, "none is lost");
    assert!(all.values().all(|times| *times == 1), "{all:?}");
    assert!(first.ids().iter().all(|id| all.contains_key(id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listen_forwards_the_deliveries_of_a_remote_server() {
    let Some((world, secret)) = start(Sqlite, &json!({})).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/hook", [Reply::Status(500)]);
    let consumer = json!({"name": "developer", "scopes": ["deliveries:pull"]});
    let token = world.post("/api/v1/tokens", &consumer).await;
    capture(&world, 0..1).await;
    let mut listen = Command::new(binary());
    listen.args(["listen", "--remote", world.server().address(), "--endpoint", "warehouse"]);
    listen.args(["--forward", &receiver.url("/hook")]).env("WAYBILL_TOKEN", text(&token, "token"));
    let listening = listen.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let arrivals = receiver.wait_for("/hook", 2).await;
    let ids: Vec<&str> = arrivals.iter().map(|arrival| arrival.header("webhook-id")).collect();
    assert_eq!(ids[0], ids[1]);
    assert!(verified(&arrivals[1], &secret));
    let path = format!("/api/v1/deliveries/{}", ids[0]);
    let delivered = world.eventually(&path, |found| found["status"] == "delivered").await;
    assert_eq!(delivered["attempts"][0]["error"], "answered 500", "{delivered:#}");
    drop(listening);
}
