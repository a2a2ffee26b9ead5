//! Several nodes on one database.

use crate::support::{endpoint_with, hex_signature, invoice, rotate_key, token};
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, fresh_database};
use waybill_tests::{Client, Database, Receiver, Reply, Server, Settings, World};

const KEY: &str = "one-key-of-all-nodes-0123456789";

fn with_key(settings: &mut Settings) {
    settings.environment("WAYBILL_SECRET_KEY", KEY);
    settings.set("metrics.require_token", "true");
}

/// Returns another node's settings. It has its own folder, and so without a configured key its own
/// key.
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
    assert!(nodes.as_array().unwrap().iter().all(|node| node["clock_skew_ms"].is_i64()));
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

/// Starts this many nodes at the same moment, each with its own folder.
fn start_at_once(settings: &Settings, nodes: usize) -> Vec<(Server, TempDir)> {
    let start = || {
        let folder = TempDir::new().unwrap();
        let mut own = settings.clone();
        own.set("server.data_dir", folder.path().to_str().unwrap());
        (Server::start(&own).unwrap(), folder)
    };
    std::thread::scope(|threads| {
        let starts: Vec<_> = (0..nodes).map(|_| threads.spawn(start)).collect();
        starts.into_iter().map(|node| node.join().unwrap()).collect()
    })
}

#[tokio::test]
async fn nodes_that_start_at_once_on_an_empty_database_all_start() {
    // Each round is another chance for two to collide.
    const ROUNDS: usize = 4;
    const NODES: usize = 3;
    const SHOWN: &str = "admin token, shown only now: ";
    for round in 0..ROUNDS {
        let Some(database) = fresh_database().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(&binary(), &database.url(), folder.path());
        with_key(&mut settings);
        let is_given = round % 2 == 0;
        if !is_given {
            settings.environment.retain(|(name, _)| name != "WAYBILL_ADMIN_TOKEN");
        }
        let nodes = start_at_once(&settings, NODES);
        let printed =
            nodes.iter().map(|(server, _)| server.output()).collect::<Vec<_>>().join("\n");
        let mut shown = printed.lines().filter_map(|line| line.strip_prefix(SHOWN));
        let token = if is_given { ADMIN_TOKEN } else { shown.next().unwrap() };
        assert_eq!(shown.next(), None, "round {round}: {printed}");
        for (server, _) in &nodes {
            let client = Client::new(server.address(), Some(token));
            let listed = client.get("/api/v1/nodes").await.unwrap().data();
            assert_eq!(listed.as_array().unwrap().len(), NODES, "{listed:#}");
        }
    }
}

/// It would acknowledge events and deliver none, because it cannot read the endpoints' secrets.
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
    // Alone it starts, and reports which secrets have to be entered again.
    world.kill9();
    Server::start(&other).unwrap();
}

/// The node is suspended and resumed, as on a machine that is short of memory or moved to another
/// host.
#[tokio::test]
async fn a_node_that_stood_still_sends_nothing_that_others_took_over() {
    const EVENTS: usize = 60;
    const AT_ONCE: usize = 2;
    let Some(world) = World::start_with(Postgres, with_key).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Held);
    let slow = json!({"max_in_flight": AT_ONCE});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &slow)).await;
    for n in 0..u32::try_from(EVENTS).unwrap() {
        world.event(&invoice(n)).await;
    }
    receiver.wait_for("/a", AT_ONCE).await;
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    world.server().stand_still().unwrap();
    // The other node has taken over before this one resumes.
    receiver.wait_for("/a", 2 * AT_ONCE).await;
    receiver.release("/a");
    world.server().go_on().unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let delivered = format!("/api/v1/deliveries?status=delivered&limit={EVENTS}");
    while other.get(&delivered).await.unwrap().data().as_array().unwrap().len() < EVENTS {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let arrivals = receiver.arrivals("/a");
    let ids: BTreeSet<&str> = arrivals.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), EVENTS);
    // Only the requests that were being sent when it was suspended are sent again.
    assert!(arrivals.len() - ids.len() <= AT_ONCE, "{} twice", arrivals.len() - ids.len());
}

const SET_FORWARD: &str = "CREATE OR REPLACE FUNCTION waybill_now() RETURNS BIGINT LANGUAGE sql \
    VOLATILE AS 'SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) + 12000000'";

/// Leases and order follow the database's clock. A node that first learns the new time declares the
/// other one lost only if it observes its silence.
#[tokio::test]
async fn a_clock_that_is_set_while_nodes_work_moves_no_delivery() {
    const EVENTS: u32 = 60;
    let Some(world) = World::start_with(Postgres, with_key).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Held);
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &json!({"ordered": true}))).await;
    wait_for_endpoint(&other).await;
    for n in 0..EVENTS {
        let client = if n % 2 == 0 { world.client() } else { &other };
        assert_eq!(client.post("/api/v1/events", &invoice(n)).await.unwrap().status, 202);
    }
    receiver.wait_for("/a", 1).await;
    Database::run(&world.settings().database, SET_FORWARD).await.unwrap();
    let is_told = |nodes: &Value| {
        let skews = nodes.as_array().unwrap().iter().map(|node| node["clock_skew_ms"].as_i64());
        skews.flatten().filter(|skew| (-14_000..-10_000).contains(skew)).count() == 2
    };
    world.eventually("/api/v1/nodes", is_told).await;
    for server in [world.server(), &second] {
        server.wait_for_line(&["this machine's clock differs from the database's"]).unwrap();
    }
    receiver.release("/a");
    let delivered = format!("/api/v1/deliveries?status=delivered&limit={EVENTS}");
    world.eventually(&delivered, |found| found.as_array().unwrap().len() == EVENTS as usize).await;
    let arrivals = receiver.arrivals("/a");
    let ids: BTreeSet<&str> = arrivals.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!((ids.len(), arrivals.len()), (EVENTS as usize, EVENTS as usize));
    for server in [world.server(), &second] {
        assert!(!server.output().contains("taking over"), "{}", server.output());
    }
}

/// A newer version may store objects that this one cannot read.
#[tokio::test]
async fn an_object_that_cannot_be_read_holds_up_no_other() {
    let Some(mut world) = World::start(Postgres).await else { return };
    let receiver = Receiver::start().await;
    for name in ["a", "b"] {
        let url = receiver.url(&format!("/{name}"));
        world.endpoint(&endpoint_with(name, &url, &json!({}))).await;
    }
    let newer = r#"UPDATE object SET body = REPLACE(body, '"name":"b"', '"name":"b","newer":true')
        WHERE kind = 'endpoint' AND name = 'b'"#;
    let database = world.settings().database.clone();
    Database::run(&database, newer).await.unwrap();
    // The next change reloads all objects: the last readable state of the other one stays in use.
    let change = json!({"max_in_flight": 3});
    let answer = world.client().patch("/api/v1/endpoints/a", &change).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    world.server().wait_for_line(&["\"b\"", "endpoint cannot be read"]).unwrap();
    world.event(&invoice(1)).await;
    receiver.first("/a").await;
    receiver.first("/b").await;
    world.restart();
    world.server().wait_for_line(&["\"b\"", "endpoint cannot be read"]).unwrap();
    assert_eq!(world.get("/api/v1/endpoints/a").await["max_in_flight"], 3);
    world.event(&invoice(2)).await;
    receiver.wait_for("/a", 2).await;
}

/// As during an upgrade: a newer version has changed the schema compatibly, and has stored an
/// object with a mode that this one does not know.
#[tokio::test]
async fn a_node_one_version_behind_starts_and_works() {
    const NEWER: [&str; 3] = [
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
            VALUES (9999, 'of a newer version', TRUE, '', 0)",
        "ALTER TABLE delivery ADD COLUMN newer TEXT",
        r#"UPDATE object SET body = REPLACE(body, '"mode":"async"', '"mode":"newer"')
            WHERE kind = 'endpoint' AND name = 'b'"#,
    ];
    let Some(world) = World::start_with(Postgres, with_key).await else { return };
    let receiver = Receiver::start().await;
    for name in ["a", "b"] {
        let url = receiver.url(&format!("/{name}"));
        world.endpoint(&endpoint_with(name, &url, &json!({"mode": "async"}))).await;
    }
    for statement in NEWER {
        Database::run(&world.settings().database, statement).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    second.wait_for_line(&["a newer version has changed the database's schema"]).unwrap();
    second.wait_for_line(&["\"b\"", "endpoint cannot be read"]).unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    assert_eq!(other.post("/api/v1/events", &invoice(1)).await.unwrap().status, 202);
    receiver.first("/a").await;
    let too_new = "INSERT INTO schema_floor (version) VALUES (9999)";
    Database::run(&world.settings().database, too_new).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = Server::start(&beside(&world, folder.path())).err();
    let refused = refused.map(|why| format!("{why:#}")).unwrap_or_default();
    assert!(refused.contains("does not know migration 9999"), "{refused}");
}

/// Each node changes another field of one endpoint at the same time, and one rotates its secret.
#[tokio::test]
async fn changes_on_two_nodes_do_not_undo_each_other() {
    const PAIRS: u64 = 200;
    let Some(world) = World::start_with(Postgres, with_key).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    world.endpoint(&json!({"name": "one", "url": "http://127.0.0.1:9/", "events": ["*"]})).await;
    let path = "/api/v1/endpoints/one";
    for n in 1..=PAIRS {
        let timeout = json!({"timeout": format!("{n}ms")});
        let flight = json!({"max_in_flight": n});
        let (one, two) =
            tokio::join!(world.client().patch(path, &timeout), other.patch(path, &flight));
        assert_eq!([one.unwrap().status, two.unwrap().status], [200, 200], "pair {n}");
        // A change is based on the newest state, so its answer shows that.
        let found = other.patch(path, &json!({})).await.unwrap().data();
        let wanted = (json!(format!("{n}ms")), json!(n));
        assert_eq!((found["timeout"].clone(), found["max_in_flight"].clone()), wanted, "pair {n}");
    }
    let rotation = json!({"secret": "another-secret-than-before"});
    let rotate = format!("{path}/rotate-secret");
    let change = json!({"max_in_flight": 1});
    let (rotated, changed) =
        tokio::join!(world.client().post(&rotate, &rotation), other.patch(path, &change));
    assert_eq!([rotated.unwrap().status, changed.unwrap().status], [200, 200]);
    let found = other.patch(path, &json!({})).await.unwrap().data();
    assert!(found["grace_until"].is_string() && found["max_in_flight"] == 1, "{found:#}");
}

/// Starts a node, and another one that knows the same endpoint. The endpoint answers with the first
/// attempt, and its deliveries are claimed from the table by either node. It allows so few requests
/// at once that both nodes have a share.
async fn immediate_nodes(receiver: &Receiver, folder: &Path) -> Option<(World, Server)> {
    let patient = |settings: &mut Settings| {
        with_key(settings);
        settings.set("immediate.wait", "1m");
    };
    let world = World::start_with(Postgres, patient).await?;
    let more = json!({"mode": "immediate", "ordered": true, "max_in_flight": 4});
    world.endpoint(&endpoint_with("erp", &receiver.url("/a"), &more)).await;
    let second = Server::start(&beside(&world, folder)).unwrap();
    Some((world, second))
}

/// Sends 60 events to both nodes in turn, all at once. Returns the deliveries in the answers.
async fn capture_in_turn(world: &World, second: &Server) -> Vec<Value> {
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let posts = (0..60).map(|n| {
        let client = if n % 2 == 0 { world.client() } else { &other };
        async move { client.post("/api/v1/events", &invoice(n)).await.unwrap() }
    });
    let answers = join_all(posts).await;
    answers.iter().map(|answer| answer.data()["deliveries"][0].clone()).collect()
}

fn assert_delivered(deliveries: &[Value]) {
    for delivery in deliveries {
        assert_eq!(delivery["status"], "delivered", "{delivery:#}");
        assert_eq!(delivery["response_status"], 200, "{delivery:#}");
        assert!(delivery["duration_ms"].is_number(), "{delivery:#}");
    }
}

#[tokio::test]
async fn an_immediate_answer_says_how_the_attempt_of_another_node_ended() {
    let (receiver, folder) = (Receiver::start().await, tempfile::tempdir().unwrap());
    let Some((world, second)) = immediate_nodes(&receiver, folder.path()).await else { return };
    let deliveries = capture_in_turn(&world, &second).await;
    assert_delivered(&deliveries);
    let ids: BTreeSet<&str> = deliveries.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids.len(), deliveries.len());
}

/// Fails unless the listeners of both nodes are connected.
const CUT_LISTENERS: &str = "DO $$ BEGIN IF (SELECT COUNT(pg_terminate_backend(pid)) \
    FROM pg_stat_activity WHERE application_name = 'waybill listener' \
    AND datname = current_database()) < 2 THEN RAISE EXCEPTION 'a node does not listen'; \
    END IF; END $$";

#[tokio::test]
async fn an_immediate_answer_is_right_after_the_notices_of_other_nodes_were_lost() {
    let (receiver, folder) = (Receiver::start().await, tempfile::tempdir().unwrap());
    receiver.always("/a", Reply::Held);
    let Some((world, second)) = immediate_nodes(&receiver, folder.path()).await else { return };
    let cut = async {
        // As many as both nodes together may have at once.
        receiver.wait_for("/a", 4).await;
        while Database::run(&world.settings().database, CUT_LISTENERS).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // From here on notices are sent while no node listens.
        receiver.release("/a");
    };
    let (deliveries, ()) = tokio::join!(capture_in_turn(&world, &second), cut);
    assert_delivered(&deliveries);
    for server in [world.server(), &second] {
        server.wait_for_line(&["lost the connection for notices of other nodes"]).unwrap();
    }
}

#[tokio::test]
async fn a_token_that_one_node_revokes_is_refused_by_the_other() {
    const PATIENCE: Duration = Duration::from_mins(2);
    let Some(world) = World::start_with(Postgres, with_key).await else { return };
    let settings = json!({"name": "gone", "scopes": ["nodes:read"], "rate": 1000});
    let token = token(&world, &settings).await;
    let folder = tempfile::tempdir().unwrap();
    let second = Server::start(&beside(&world, folder.path())).unwrap();
    let there = Client::new(second.address(), Some(&token));
    let status = async || there.get("/api/v1/nodes").await.unwrap().status;
    assert_eq!(status().await, 200);
    let revoked = world.client().delete("/api/v1/tokens/gone").await.unwrap();
    assert!(revoked.status.is_success(), "{}", revoked.text());
    let refused = async {
        loop {
            let answered = status().await;
            if answered != 200 {
                return answered;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, refused).await.unwrap(), 401);
}

/// Starts three nodes that share an endpoint's limits.
async fn three_nodes(folders: &[TempDir; 2]) -> Option<(World, [Server; 2])> {
    let world = World::start_with(Postgres, with_key).await?;
    let others = folders.each_ref().map(|folder| {
        let settings = beside(&world, folder.path());
        Server::start(&settings).unwrap()
    });
    let all_share = "DO $$ BEGIN IF (SELECT COUNT(*) FROM share WHERE kind = -1) < 3 \
        THEN RAISE EXCEPTION 'a node does not share yet'; END IF; END $$";
    while Database::run(&world.settings().database, all_share).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some((world, others))
}

fn two_folders() -> [TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]
}

/// Waits until a node knows the endpoint `a`. Another node learns of it within two seconds, and an
/// event that it captures before has no delivery.
async fn wait_for_endpoint(node: &Client) {
    while node.get("/api/v1/endpoints/a").await.unwrap().status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends events to all nodes in turn, once they know the endpoint.
async fn post_to_all(world: &World, others: &[Server; 2], events: u32) {
    let [second, third] =
        others.each_ref().map(|server| Client::new(server.address(), Some(ADMIN_TOKEN)));
    for node in [&second, &third] {
        wait_for_endpoint(node).await;
    }
    for n in 0..events {
        let client = match n % 3 {
            0 => world.client(),
            1 => &second,
            _ => &third,
        };
        assert_eq!(client.post("/api/v1/events", &invoice(n)).await.unwrap().status, 202);
    }
}

/// Waits until each node has sent two more heartbeats, which takes some seconds.
async fn wait_for_signs(world: &World) {
    let signs = |nodes: &Value| -> BTreeSet<String> {
        let nodes = nodes.as_array().unwrap().iter();
        nodes.map(|node| format!("{} {}", node["id"], node["seen_at"])).collect()
    };
    for _ in 0..2 {
        let before = signs(&world.get("/api/v1/nodes").await);
        let all_anew = |nodes: &Value| signs(nodes).is_disjoint(&before);
        world.eventually("/api/v1/nodes", all_anew).await;
    }
}

#[tokio::test]
async fn an_endpoint_gets_one_request_at_once_from_all_nodes_together() {
    const EVENTS: u32 = 30;
    let (folders, receiver) = (two_folders(), Receiver::start().await);
    let Some((world, others)) = three_nodes(&folders).await else { return };
    receiver.always("/a", Reply::Held);
    let one = json!({"max_in_flight": 1});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &one)).await;
    post_to_all(&world, &others, EVENTS).await;
    receiver.wait_for("/a", 1).await;
    wait_for_signs(&world).await;
    assert_eq!(receiver.arrivals("/a").len(), 1);
    // The node with the right to send finally gets all deliveries.
    receiver.release("/a");
    receiver.wait_for("/a", EVENTS as usize).await;
    let arrivals = receiver.arrivals("/a");
    let ids: BTreeSet<&str> = arrivals.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!((ids.len(), arrivals.len()), (EVENTS as usize, EVENTS as usize));
}

/// The receiver refuses an eleventh request in a second. Three nodes with the full rate each would
/// send thirty.
#[tokio::test]
async fn a_rate_holds_for_all_nodes_together() {
    const EVENTS: u32 = 60;
    let (folders, receiver) = (two_folders(), Receiver::start().await);
    let Some((world, others)) = three_nodes(&folders).await else { return };
    let rate = json!({"rate_limit": {"per_second": 10.0, "burst": 1}});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &rate)).await;
    post_to_all(&world, &others, EVENTS).await;
    receiver.wait_for("/a", EVENTS as usize).await;
    let mut times: Vec<_> = receiver.arrivals("/a").iter().map(|one| one.at).collect();
    times.sort_unstable();
    // Over any three seconds: thirty, a tenth more, and one for each node that was at rest.
    let window = Duration::from_secs(3);
    for (n, from) in times.iter().enumerate() {
        let within = times[n..].iter().take_while(|at| at.duration_since(*from) < window).count();
        assert!(within <= 30 + 3 + 3, "{within} requests in three seconds");
    }
}

#[rstest]
#[case("/api/v1/nodes")]
#[case("/metrics")]
#[tokio::test]
async fn a_tokens_calls_a_minute_are_counted_on_all_nodes_together(#[case] path: &str) {
    const RATE: usize = 40;
    let folders = two_folders();
    let Some((world, others)) = three_nodes(&folders).await else { return };
    let settings = json!({"name": "poll", "scopes": ["nodes:read", "metrics:read"], "rate": RATE});
    let token = token(&world, &settings).await;
    let servers = [world.server(), &others[0], &others[1]];
    let clients = servers.map(|server| Client::new(server.address(), Some(&token)));
    // Waits until all nodes know the token.
    for client in &clients {
        while client.get(path).await.unwrap().status == 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..3 * RATE {
        let answer = clients[n % 3].get(path).await.unwrap();
        let minute = answer.header("x-ratelimit-reset").to_owned();
        match answer.status.as_u16() {
            200 => *answered.entry(minute).or_default() += 1,
            status => assert_eq!(status, 429, "{}", answer.text()),
        }
    }
    assert!(answered.values().all(|calls| *calls <= RATE), "{answered:?}");
    // Each node may keep an unused part of a twentieth.
    assert!(answered.values().sum::<usize>() >= RATE - 3 * RATE / 20 - 3, "{answered:?}");
}

const NEXT_KEY: &str = "the-next-key-of-all-nodes-98765";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Changes the key while two nodes run: both learn the new one, everything is encrypted again, and
/// each is restarted with the new one alone.
#[tokio::test]
async fn the_key_is_changed_while_nodes_run() {
    let Some(mut world) = World::start_with(Postgres, with_key).await else { return };
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let endpoint = endpoint_with("a", &receiver.url("/a"), &json!({"secret": SECRET}));
    world.endpoint(&endpoint).await;
    let mut settings = beside(&world, folder.path());
    let mut second = Server::start(&settings).unwrap();
    settings.environment("WAYBILL_SECRET_KEY_NEXT", NEXT_KEY);
    let refused = rotate_key(&settings).unwrap_err();
    for word in ["do not know the new key", served_at(&second), served_at(world.server())] {
        assert!(refused.contains(word), "{refused}");
    }
    assert!(second.terminate().unwrap().success());
    second = Server::start(&settings).unwrap();
    world.stop();
    world.restart_with(|settings| {
        settings.environment("WAYBILL_SECRET_KEY_NEXT", NEXT_KEY);
    });
    let changed = rotate_key(&settings).unwrap();
    assert!(changed.contains("\"objects\": 1"), "{changed}");
    let other = Client::new(second.address(), Some(ADMIN_TOKEN));
    let patched = other.patch("/api/v1/endpoints/a", &json!({"timeout": "9s"})).await.unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text());
    world.event(&invoice(1)).await;
    receiver.wait_for("/a", 1).await;
    world.stop();
    world.restart_with(|settings| {
        settings.environment.retain(|(name, _)| name != "WAYBILL_SECRET_KEY_NEXT");
        settings.environment("WAYBILL_SECRET_KEY", NEXT_KEY);
    });
    assert!(second.terminate().unwrap().success());
    world.event(&invoice(2)).await;
    receiver.wait_for("/a", 2).await;
    for arrival in receiver.arrivals("/a") {
        assert_eq!(arrival.header("x-webhook-signature"), hex_signature(&arrival, SECRET));
    }
    assert_eq!(world.get("/api/v1/endpoints/a").await["timeout"], "9s");
}
