//! Waybill behind PgBouncer in transaction mode.

use crate::support::{endpoint_with, invoice};
use serde_json::json;
use tempfile::TempDir;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::skip;
use waybill_tests::{Backend, Client, Cluster, PgBouncer, Receiver, Server, World};

/// Number of connections of the pooler: fewer than one node has, so that sessions are shared.
const SESSIONS: u32 = 6;

fn start_servers() -> Option<(Cluster, PgBouncer)> {
    if Cluster::find_binaries().is_none() || PgBouncer::find_program().is_none() {
        skip("PostgreSQL or PgBouncer is not on this machine");
        return None;
    }
    let cluster = Cluster::start_unsynced().unwrap();
    let pooler = PgBouncer::start(&cluster, SESSIONS).unwrap();
    Some((cluster, pooler))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_work_behind_a_pooler_that_hands_out_sessions_by_transaction() {
    const EVENTS: u32 = 40;
    const PAIRS: u64 = 20;
    let Some((_cluster, pooler)) = start_servers() else { return };
    let url = format!("{}?pgbouncer=true", pooler.url("postgres"));
    let started = World::start_with(Backend::Sqlite, |settings| {
        settings.database = url;
        settings.environment("WAYBILL_SECRET_KEY", "one-key-of-both-nodes-0123456789");
    });
    let mut world = started.await.unwrap();
    let folder = TempDir::new().unwrap();
    let mut beside = world.settings().clone();
    beside.set("server.data_dir", folder.path().to_str().unwrap());
    let second = Server::start(&beside).unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &json!({}))).await;
    // Locks of the settings work between nodes.
    for n in 1..=PAIRS {
        let (timeout, flight) = (json!({"timeout": format!("{n}s")}), json!({"max_in_flight": n}));
        let path = "/api/v1/endpoints/a";
        let (one, two) =
            tokio::join!(world.client().patch(path, &timeout), other.patch(path, &flight));
        assert_eq!([one.unwrap().status, two.unwrap().status], [200, 200], "pair {n}");
        let found = other.patch(path, &json!({})).await.unwrap().data();
        let wanted = (json!(format!("{n}s")), json!(n));
        assert_eq!((found["timeout"].clone(), found["max_in_flight"].clone()), wanted, "pair {n}");
    }
    for n in 0..EVENTS {
        let client = if n % 2 == 0 { world.client() } else { &other };
        let taken = client.post("/api/v1/events", &invoice(n)).await.unwrap();
        assert_eq!(taken.status, 202, "{}", taken.text());
    }
    receiver.wait_for("/a", usize::try_from(EVENTS).unwrap()).await;
    let delivered = format!("/api/v1/deliveries?status=delivered&limit={EVENTS}");
    let count = usize::try_from(EVENTS).unwrap();
    world.eventually(&delivered, |found| found.as_array().unwrap().len() == count).await;
    // A later start finds the existing tables.
    world.restart();
    assert_eq!(world.get("/api/v1/endpoints/a").await["max_in_flight"], PAIRS);
    for printed in [world.server().output(), second.output()] {
        assert!(!printed.contains("prepared statement"), "{printed}");
    }
}
