//! A database with a standby.

use crate::support::invoice;
use waybill_tests::world::{LIMIT, skip};
use waybill_tests::{Backend, Cluster, ServerPair, World};

async fn start_pair() -> Option<ServerPair> {
    if Cluster::find_binaries().is_none() {
        skip("PostgreSQL is not on this machine");
        return None;
    }
    Some(ServerPair::start().await.unwrap())
}

/// Starts a server that uses both, with some events.
async fn world_on(pair: &ServerPair) -> (World, Vec<String>) {
    let url = pair.url();
    let world = World::start_with(Backend::Sqlite, |settings| settings.database = url).await;
    let world = world.unwrap();
    let mut captured = Vec::new();
    for n in 0..10 {
        captured.push(world.event(&invoice(n)).await);
    }
    (world, captured)
}

/// Captures until an event is acknowledged, and returns its id.
async fn capture_until_taken(world: &World) -> String {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let answer = world.client().post("/api/v1/events", &invoice(99)).await.unwrap();
        if answer.status == 202 {
            return answer.data()["id"].as_str().unwrap().to_owned();
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(std::time::Instant::now() < deadline, "the other server is not found");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn all_are_there(world: &World, captured: &[String]) {
    for id in captured {
        let path = format!("/api/v1/events/{id}");
        while world.client().get(&path).await.unwrap().status == 503 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        world.get(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_server_that_stopped() {
    let Some(mut pair) = start_pair().await else { return };
    let (world, mut captured) = world_on(&pair).await;
    pair.primary.stop().unwrap();
    pair.promote().await.unwrap();
    captured.push(capture_until_taken(&world).await);
    all_are_there(&world, &captured).await;
}

/// Like a switch-over: no connection is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_read_only_is_left() {
    let Some(pair) = start_pair().await else { return };
    let (world, mut captured) = world_on(&pair).await;
    pair.set_primary("RESET synchronous_standby_names").await.unwrap();
    pair.promote().await.unwrap();
    pair.set_primary("SET default_transaction_read_only = on").await.unwrap();
    captured.push(capture_until_taken(&world).await);
    all_are_there(&world, &captured).await;
}
