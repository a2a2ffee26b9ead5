//! Changes of an endpoint while deliveries wait: every request that starts after the
//! acknowledgement follows the change.

use std::net::Ipv4Addr;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, Server, World};

use crate::support::{endpoint_with, invoice, verified};

const DELIVERIES: &str = "/api/v1/deliveries";

/// Counts the deliveries with a status.
fn count(deliveries: &Value, status: &str) -> usize {
    let rows = deliveries.as_array().unwrap();
    rows.iter().filter(|delivery| delivery["status"] == status).count()
}

/// Creates an endpoint at `/old` that allows one request at a time, with its first one held and
/// three deliveries waiting. Returns the path of the endpoint.
async fn three_wait(world: &World, receiver: &Receiver) -> String {
    receiver.script("/old", [Reply::Held]);
    let more = json!({"max_in_flight": 1});
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/old"), &more)).await;
    for number in 1..=4 {
        world.event(&invoice(number)).await;
    }
    receiver.first("/old").await;
    format!("/api/v1/endpoints/{}", text(&made, "id"))
}

#[rstest]
#[tokio::test]
async fn no_request_goes_to_an_address_that_was_changed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let path = three_wait(&world, &receiver).await;
    let change = json!({"url": receiver.url("/new")});
    assert_eq!(world.client().patch(&path, &change).await.unwrap().status, 200);
    receiver.release("/old");
    receiver.wait_for("/new", 3).await;
    world.eventually(DELIVERIES, |found| count(found, "delivered") == 4).await;
    assert_eq!(receiver.count("/old"), 1);
}

#[tokio::test]
async fn no_request_goes_to_an_endpoint_that_was_disabled() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let path = three_wait(&world, &receiver).await;
    let change = |on: bool| json!({"enabled": on});
    assert_eq!(world.client().patch(&path, &change(false)).await.unwrap().status, 200);
    receiver.release("/old");
    let settled = |found: &Value| count(found, "delivered") == 1 && count(found, "pending") == 3;
    world.eventually(DELIVERIES, settled).await;
    assert_eq!(receiver.count("/old"), 1);
    assert_eq!(world.client().patch(&path, &change(true)).await.unwrap().status, 200);
    receiver.wait_for("/old", 4).await;
}

#[rstest]
#[tokio::test]
async fn an_event_captured_during_a_pause_is_delivered_only_by_a_replay(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/a"), &json!({}))).await;
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    let change = |on: bool| json!({"enabled": on});
    assert_eq!(world.client().patch(&path, &change(false)).await.unwrap().status, 200);
    let missed = world.event(&invoice(1)).await;
    let trace = world.get(&format!("/api/v1/events/{missed}")).await;
    assert_eq!(trace["deliveries"], json!([]), "{trace:#}");
    assert_eq!(trace["steps"][0]["reason"], "endpoint `a` is disabled", "{trace:#}");
    assert_eq!(world.client().patch(&path, &change(true)).await.unwrap().status, 200);
    world.event(&invoice(2)).await;
    let arrivals = receiver.wait_for("/a", 1).await;
    assert_eq!(arrivals[0].json()["resource_id"], "2", "the first event made no delivery");
    let replay = world.post(&format!("/api/v1/events/{missed}/replay"), &json!({})).await;
    assert_eq!(replay["deliveries"], 1, "{replay:#}");
    let arrivals = receiver.wait_for("/a", 2).await;
    assert_eq!(arrivals[1].json()["resource_id"], "1");
}

#[tokio::test]
async fn no_request_goes_to_an_endpoint_that_was_deleted() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let path = three_wait(&world, &receiver).await;
    assert_eq!(world.client().delete(&path).await.unwrap().status, 204);
    receiver.release("/old");
    world.eventually(DELIVERIES, |found| count(found, "cancelled") >= 3).await;
    // Drains: running requests end first.
    world.stop();
    assert_eq!(receiver.count("/old"), 1);
}

#[tokio::test]
async fn a_late_gone_of_the_old_address_does_not_disable_the_endpoint() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/old", [Reply::HeldWith { status: 410, headers: Vec::new() }]);
    let more = json!({"on_gone": "disable"});
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/old"), &more)).await;
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    world.event(&invoice(1)).await;
    receiver.first("/old").await;
    patch(world.client(), &path, &json!({"url": receiver.url("/new")})).await;
    receiver.release("/old");
    // The endpoint is disabled before the delivery is recorded as dead.
    world.eventually(DELIVERIES, |found| count(found, "dead") == 1).await;
    assert_eq!(world.get(&path).await["enabled"], true);
    world.event(&invoice(2)).await;
    receiver.first("/new").await;
}

#[tokio::test]
async fn a_raised_limit_and_a_new_secret_count_at_once() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    // One request a day.
    let more = json!({"rate_limit": {"per_second": 0.000_011}});
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/old"), &more)).await;
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    for number in 1..=4 {
        world.event(&invoice(number)).await;
    }
    receiver.first("/old").await;
    let rotated = world.post(&format!("{path}/rotate-secret"), &json!({"grace": "0s"})).await;
    let change =
        json!({"url": receiver.url("/new"), "rate_limit": {"per_second": 100, "burst": 100}});
    assert_eq!(world.client().patch(&path, &change).await.unwrap().status, 200);
    for arrival in receiver.wait_for("/new", 3).await {
        assert!(verified(&arrival, &text(&rotated, "secret")));
    }
    assert_eq!(receiver.count("/old"), 1);
}

#[tokio::test]
async fn another_node_takes_up_a_change() {
    let Some(world) = World::start(Postgres).await else { return };
    let receiver = Receiver::start().await;
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/old"), &json!({}))).await;
    let other = Server::start(world.settings()).unwrap();
    let other =
        waybill_tests::rest::Client::new(other.address(), Some(waybill_tests::server::ADMIN_TOKEN));
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    let change = json!({"url": receiver.url("/new")});
    assert_eq!(world.client().patch(&path, &change).await.unwrap().status, 200);
    // It answers with the settings with which it would send.
    let mut seen = other.get(&path).await.unwrap().data();
    while seen["url"] != receiver.url("/new") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        seen = other.get(&path).await.unwrap().data();
    }
    assert_eq!(other.post("/api/v1/events", &invoice(1)).await.unwrap().status, 202);
    receiver.first("/new").await;
    assert_eq!(receiver.count("/old"), 0);
}

async fn patch(client: &waybill_tests::rest::Client, path: &str, change: &Value) {
    let answer = client.patch(path, change).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Checks that changes of different fields that are made at once, through these clients in turn,
/// are all kept.
async fn keeps_each_change(clients: &[waybill_tests::rest::Client], path: &str) {
    for round in 1..=10 {
        let changes = [
            json!({"max_in_flight": round}),
            json!({"timeout": format!("{round}s")}),
            json!({"ordered": round % 2 == 0}),
            json!({"rate_limit": {"per_second": f64::from(round), "burst": 1}}),
        ];
        let mut made = Vec::new();
        for (change, client) in changes.iter().zip(clients.iter().cycle()) {
            made.push(patch(client, path, change));
        }
        futures_util::future::join_all(made).await;
        let has = |found: &Value, change: &Value| {
            change.as_object().unwrap().iter().all(|(field, value)| found[field] == *value)
        };
        // A node adopts the changes of another within two seconds.
        let deadline = std::time::Instant::now() + waybill_tests::world::LIMIT;
        loop {
            let found = clients[0].get(path).await.unwrap().data();
            if changes.iter().all(|change| has(&found, change)) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "round {round}: {found:#}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[rstest]
#[tokio::test]
async fn changes_of_one_endpoint_at_once_are_all_kept(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    world.endpoint(&endpoint_with("a", "http://127.0.0.1:9/", &json!({}))).await;
    let clients = [world.client_with(Some(waybill_tests::server::ADMIN_TOKEN))];
    keeps_each_change(&clients, "/api/v1/endpoints/a").await;
}

#[tokio::test]
async fn changes_of_one_endpoint_on_two_nodes_at_once_are_all_kept() {
    let Some(world) = World::start(Postgres).await else { return };
    let made = world.endpoint(&endpoint_with("a", "http://127.0.0.1:9/", &json!({}))).await;
    let other = Server::start(world.settings()).unwrap();
    let token = Some(waybill_tests::server::ADMIN_TOKEN);
    let clients =
        [world.client_with(token), waybill_tests::rest::Client::new(other.address(), token)];
    keeps_each_change(&clients, &format!("/api/v1/endpoints/{}", text(&made, "id"))).await;
}

/// Returns a listener at which further connections hang as long as the two queued ones are held:
/// Linux queues one more than requested, and drops the SYN of any other.
async fn full_listener() -> (TcpListener, [TcpStream; 2]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let queued =
        [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    (listener, queued)
}

/// Returns the address of a connection that is being opened to this port of loopback.
fn dialling_address(port: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (from, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        // SYN-SENT.
        (remote.ends_with(&to) && state == "02").then(|| from.to_owned())
    })
}

#[tokio::test]
async fn a_change_does_not_wait_for_a_connection_to_another_endpoint() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let (listener, _queued) = full_listener().await;
    let port = listener.local_addr().unwrap().port();
    let hanging = json!({"max_in_flight": 1, "timeout": "30s"});
    let url = format!("http://127.0.0.1:{port}/");
    world.endpoint(&endpoint_with("hanging", &url, &hanging)).await;
    world.endpoint(&endpoint_with("working", &receiver.url("/a"), &json!({}))).await;
    let unused = json!({"events": []});
    world.endpoint(&endpoint_with("changed", &receiver.url("/b"), &unused)).await;
    world.event(&invoice(1)).await;
    let deadline = std::time::Instant::now() + waybill_tests::world::LIMIT;
    let dialled = loop {
        if let Some(address) = dialling_address(port) {
            break address;
        }
        assert!(std::time::Instant::now() < deadline, "nobody dials port {port}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    // The connection is given up after 10 s, and a change used to wait 5 s for it. Three changes
    // can finish before the first connection only if none of them waits.
    for (number, count) in [(2, 2), (3, 3), (4, 4)] {
        let change = json!({"max_in_flight": number});
        patch(world.client(), "/api/v1/endpoints/changed", &change).await;
        world.event(&invoice(number)).await;
        receiver.wait_for("/a", count).await;
    }
    assert_eq!(dialling_address(port), Some(dialled), "the first connection still hangs");
}
