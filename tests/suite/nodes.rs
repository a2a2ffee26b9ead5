//! Several nodes on one database.

use serde_json::json;
use std::path::Path;
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::{Server, Settings, World};

const KEY: &str = "one-key-of-all-nodes-0123456789";

fn with_key(settings: &mut Settings) {
    settings.environment("WAYBILL_SECRET_KEY", KEY);
}

/// Another node's settings: it has a folder of its own, and so without a key set a key of its own.
fn beside(world: &World, folder: &Path) -> Settings {
    let mut settings = world.settings().clone();
    settings.set("server.listen", "127.0.0.1:0").set("server.data_dir", folder.to_str().unwrap());
    settings
}

fn served_at(server: &Server) -> &str {
    server.address().trim_start_matches("http://")
}

#[tokio::test]
async fn nodes_of_one_database_are_listed() {
    let Some(world) = World::start_with(Postgres, with_key).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    let nodes =
        world.eventually("/api/v1/nodes", |found| found.as_array().unwrap().len() == 2).await;
    for (node, server) in [(&nodes[0], world.server()), (&nodes[1], &second)] {
        assert_eq!(node["address"], served_at(server), "{nodes:#}");
    }
    assert_eq!([&nodes[0]["answers"], &nodes[1]["answers"]], [&json!(true), &json!(false)]);
    assert!(nodes.as_array().unwrap().iter().all(|node| node["version"] == nodes[0]["version"]));
    drop(second);
    let none = world.client_with(None).get("/api/v1/nodes").await.unwrap();
    assert_eq!(none.status, 401);
}

#[tokio::test]
async fn the_node_of_a_file_is_listed() {
    let Some(world) = World::start(Sqlite).await else { return };
    let nodes = world.get("/api/v1/nodes").await;
    assert_eq!(nodes.as_array().unwrap().len(), 1, "{nodes:#}");
}

/// It would acknowledge events and deliver none: it cannot read the endpoints' secrets.
#[tokio::test]
async fn a_node_with_another_key_does_not_start_beside_others() {
    let Some(mut world) = World::start_with(Postgres, with_key).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut other = beside(&world, folder.path());
    other.environment("WAYBILL_SECRET_KEY", "another-key-than-the-others-9876");
    let refused = Server::start(&other).err().map(|why| format!("{why:#}")).unwrap_or_default();
    for word in ["another secret key", "WAYBILL_SECRET_KEY", served_at(world.server())] {
        assert!(refused.contains(word), "{refused}");
    }
    assert_eq!(world.get("/api/v1/nodes").await.as_array().unwrap().len(), 1);
    // Alone it starts, and says which secrets have to be entered again.
    world.kill9();
    Server::start(&other).unwrap();
}
