//! A database with a standby.

use crate::support::invoice;
use waybill_tests::world::{LIMIT, skip};
use waybill_tests::{Backend, Cluster, Database, World};

/// A server and its standby. Every commit is on both before it is acknowledged.
struct ServerPair {
    primary: Cluster,
    standby: Cluster,
}

impl ServerPair {
    async fn start() -> Option<Self> {
        if Cluster::find_binaries().is_none() {
            skip("PostgreSQL is not on this machine");
            return None;
        }
        let primary = Cluster::start_unsynced().unwrap();
        let standby = Cluster::start_standby(&primary).unwrap();
        set(&primary, "SET synchronous_standby_names = '*'").await;
        Some(Self { primary, standby })
    }

    /// Returns the URL of both servers, the standby first.
    fn url(&self) -> String {
        let (primary, standby) = (self.primary.url("postgres"), self.standby.url("postgres"));
        let (_, primary) = primary.split_once('@').unwrap();
        let (standby, _) = standby.rsplit_once('/').unwrap();
        format!("{standby},{primary}")
    }

    async fn promote(&self) {
        Database::run(&self.standby.url("postgres"), "SELECT pg_promote()").await.unwrap();
    }

    /// Starts a server that uses both, with some events.
    async fn world(&self) -> (World, Vec<String>) {
        let url = self.url();
        let world = World::start_with(Backend::Sqlite, |settings| settings.database = url).await;
        let world = world.unwrap();
        let mut captured = Vec::new();
        for n in 0..10 {
            captured.push(world.event(&invoice(n)).await);
        }
        (world, captured)
    }
}

/// Changes a setting of a running server.
async fn set(cluster: &Cluster, change: &str) {
    let url = cluster.url("postgres");
    Database::run(&url, &format!("ALTER SYSTEM {change}")).await.unwrap();
    Database::run(&url, "SELECT pg_reload_conf()").await.unwrap();
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
    let Some(mut pair) = ServerPair::start().await else { return };
    let (world, mut captured) = pair.world().await;
    pair.primary.stop().unwrap();
    pair.promote().await;
    captured.push(capture_until_taken(&world).await);
    all_are_there(&world, &captured).await;
}

/// Like a switch-over: no connection is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_read_only_is_left() {
    let Some(pair) = ServerPair::start().await else { return };
    let (world, mut captured) = pair.world().await;
    set(&pair.primary, "RESET synchronous_standby_names").await;
    pair.promote().await;
    set(&pair.primary, "SET default_transaction_read_only = on").await;
    captured.push(capture_until_taken(&world).await);
    all_are_there(&world, &captured).await;
}
