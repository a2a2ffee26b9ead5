//! The capture log: three servers of NATS take captures while PostgreSQL is away, while the leader
//! of the stream dies, and while nodes are killed. Nothing is lost and nothing is doubled.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use waybill_servers::{NatsCluster, NatsServer};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{LIMIT, skip, text};
use waybill_tests::{Backend, Client, Cluster, Database, Receiver, Server, Settings, World};

use crate::support::{endpoint_with, invoice, merged, problem};

const EVENTS: &str = "/api/v1/events";
/// The default name of the stream.
const STREAM: &str = "WAYBILL_CAPTURE";
/// Number of concurrent callers.
const CALLERS: u32 = 4;
const PACE: Duration = Duration::from_millis(20);

/// A node with a capture log, and its servers.
struct Logged {
    world: World,
    receiver: Receiver,
    postgres: Cluster,
    nats: NatsCluster,
    /// Dropped after the server that uses it.
    _database: Database,
}

impl Logged {
    /// Starts all servers. Returns `None` if one of them is not installed.
    async fn start() -> Option<Self> {
        if Cluster::find_binaries().is_none() || !NatsServer::is_installed() {
            skip("PostgreSQL or NATS is not on this machine");
            return None;
        }
        let nats = NatsCluster::start().unwrap();
        let postgres = Cluster::start_unsynced().unwrap();
        let database = Database::create(&postgres.url("postgres")).await.unwrap();
        let set = |settings: &mut Settings| {
            settings.database = database.url();
            settings.set("capture.log", &nats.url());
        };
        let world = World::start_with(Backend::Sqlite, set).await?;
        until_ready(world.client()).await;
        let receiver = Receiver::start().await;
        let more = json!({"retry": {"schedule": vec!["100ms"; 50]}});
        world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
        Some(Self { world, receiver, postgres, nats, _database: database })
    }

    /// Checks that each of these events is delivered, and that nothing is delivered twice.
    async fn all_come_once(&self, acknowledged: &[String]) {
        for id in acknowledged {
            let path = format!("{EVENTS}/{id}");
            self.until(&path, |found| found["deliveries"][0]["status"] == "delivered").await;
        }
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for arrival in self.receiver.arrivals("/a") {
            let event = arrival.json();
            *times.entry(text(&event, "id")).or_default() += 1;
            *numbers.entry(event["payload"]["id"].to_string()).or_default() += 1;
        }
        let lost: Vec<_> = acknowledged.iter().filter(|id| !times.contains_key(*id)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let doubled: Vec<_> = times.iter().chain(&numbers).filter(|(_, n)| **n > 1).collect();
        assert!(doubled.is_empty(), "doubled: {doubled:?}");
    }

    /// Reads a resource until it meets the condition, also while it is not there yet.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.world.client().get(path).await.unwrap();
            if answer.status == 200 && wanted(&answer.data()) {
                return answer.data();
            }
            assert!(Instant::now() < deadline, "{path} stayed {}", answer.text());
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Waits until a node accepts captures.
async fn until_ready(client: &Client) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = client.get("/readyz").await.unwrap();
        if answer.status == 200 {
            return;
        }
        assert!(Instant::now() < deadline, "not ready: {}", answer.text());
        tokio::time::sleep(PACE).await;
    }
}

/// Calls that capture until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU32>,
    callers: JoinSet<(Vec<String>, u32)>,
}

impl Load {
    /// Starts callers. `next` is the number of the next event. A refused event is sent again until
    /// it is taken, with the same id.
    fn start(client: &Client, next: &Arc<AtomicU32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicU32::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (client, next) = (client.clone(), Arc::clone(next));
            let (stop, taken) = (Arc::clone(&stop), Arc::clone(&taken));
            callers.spawn(async move {
                let (mut acknowledged, mut refused) = (Vec::new(), 0);
                while !stop.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    let event = merged(invoice(number), &json!({"id": format!("e{number}")}));
                    loop {
                        match client.post(EVENTS, &event).await {
                            Ok(answer) if answer.status == 202 => {
                                acknowledged.push(text(&answer.data(), "id"));
                                taken.fetch_add(1, Relaxed);
                                break;
                            }
                            Ok(answer) => {
                                problem(&answer, 503);
                                refused += 1;
                            }
                            // The node was killed. Whether it took the event is not known.
                            Err(_) => return (acknowledged, refused),
                        }
                    }
                }
                (acknowledged, refused)
            });
        }
        Self { stop, taken, callers }
    }

    /// Waits until this many further events are taken.
    async fn until_taken(&self, more: u32) {
        let wanted = self.taken.load(Relaxed) + more;
        let deadline = Instant::now() + LIMIT;
        while self.taken.load(Relaxed) < wanted {
            assert!(Instant::now() < deadline, "captures do not go on");
            tokio::time::sleep(PACE).await;
        }
    }

    /// Stops the callers. Returns the acknowledged ids, and the number of refusals.
    async fn end(self) -> (Vec<String>, u32) {
        self.stop.store(true, Relaxed);
        let (ids, refused): (Vec<_>, Vec<_>) = self.callers.join_all().await.into_iter().unzip();
        (ids.concat(), refused.into_iter().sum())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captures_go_on_while_postgresql_is_away() {
    let Some(mut logged) = Logged::start().await else { return };
    let load = Load::start(logged.world.client(), &Arc::default());
    load.until_taken(50).await;
    logged.postgres.stop().unwrap();
    // As long as it takes to find out that it is away, and longer.
    load.until_taken(3_000).await;
    until_ready(logged.world.client()).await;
    logged.postgres.resume().unwrap();
    load.until_taken(50).await;
    let (acknowledged, refused) = load.end().await;
    assert_eq!(refused, 0, "of {}", acknowledged.len());
    logged.all_come_once(&acknowledged).await;
    // Each call has its row in the audit, also those that were answered without the database.
    let path = "/api/v1/audit?limit=1";
    logged.until(path, |rows| !rows.as_array().unwrap().is_empty()).await;
    let mut rows = 0;
    let mut cursor = String::new();
    loop {
        let page = logged.world.client().get(&format!("/api/v1/audit?limit=200{cursor}")).await;
        let page = page.unwrap();
        let found = page.data();
        let is_capture = |row: &&Value| row["method"] == "POST" && row["route"] == EVENTS;
        rows += found.as_array().unwrap().iter().filter(is_capture).count();
        let Some(next) = page.json()["meta"]["next_cursor"].as_str().map(str::to_owned) else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(rows, acknowledged.len(), "rows of the audit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_of_the_stream_dies_under_load() {
    let Some(mut logged) = Logged::start().await else { return };
    let load = Load::start(logged.world.client(), &Arc::default());
    load.until_taken(50).await;
    let leader = logged.nats.find_leader(STREAM).expect("the stream has a leader");
    logged.nats.kill(leader).unwrap();
    load.until_taken(200).await;
    logged.nats.resume(leader).unwrap();
    load.until_taken(50).await;
    let (acknowledged, _refused) = load.end().await;
    logged.all_come_once(&acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_between_the_log_and_the_commit() {
    let Some(mut logged) = Logged::start().await else { return };
    let next = Arc::default();
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        let load = Load::start(logged.world.client(), &next);
        load.until_taken(60).await;
        logged.world.kill9();
        acknowledged.extend(load.end().await.0);
        logged.world.restart();
        until_ready(logged.world.client()).await;
    }
    for id in &acknowledged {
        let path = format!("{EVENTS}/{id}");
        logged.until(&path, |found| found["deliveries"][0]["status"] == "delivered").await;
    }
    // A request to the receiver that was under way at the kill is made again, with the same
    // `webhook-id`. Another event or delivery of the same invoice would be a double.
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for arrival in logged.receiver.arrivals("/a") {
        let number = arrival.json()["payload"]["id"].to_string();
        let id = arrival.header("webhook-id").to_owned();
        let known = ids.entry(number.clone()).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "invoice {number} was doubled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_while_postgresql_is_away_and_captures() {
    let Some(mut logged) = Logged::start().await else { return };
    let hook = json!({"name": "crm", "kind": "webhook", "secret": "s3cret-of-the-crm",
                      "webhook": {"scheme": "perfexapi"}});
    logged.world.post("/api/v1/sources", &hook).await;
    let limited = json!({"name": "t", "scopes": ["events:write"]});
    let made = logged.world.post("/api/v1/tokens", &limited).await;
    let token = text(&made, "token");
    let copy = logged.world.folder().join("waybill.settings");
    until_copied(logged.world.client(), &copy).await;
    logged.postgres.stop().unwrap();
    logged.world.kill9();
    logged.world.restart();
    let mut acknowledged = Vec::new();
    until_ready(logged.world.client()).await;
    for n in 0..20 {
        acknowledged.push(logged.world.event(&invoice(n)).await);
    }
    let other = logged.world.client_with(Some(&token));
    let answer = other.post(EVENTS, &invoice(20)).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    acknowledged.push(text(&answer.data(), "id"));
    let unknown = logged.world.client_with(Some("wb_unknown")).post(EVENTS, &invoice(21)).await;
    assert_eq!(unknown.unwrap().status, 401, "tokens are checked as always");
    let unsigned = Call::post("/in/crm", "application/json", "{}");
    assert_eq!(logged.world.client_with(None).send(unsigned).await.unwrap().status, 401);
    for path in ["/api/v1/endpoints", EVENTS, "/api/v1/nodes", "/"] {
        problem(&logged.world.client().get(path).await.unwrap(), 503);
    }
    let ready = logged.world.client().get("/readyz").await.unwrap();
    assert_eq!((ready.status.as_u16(), &ready.json()["database"]), (200, &json!("away")));
    assert!(ready.json()["settings_copy_age_seconds"].is_u64(), "{}", ready.text());
    logged.postgres.resume().unwrap();
    logged.all_come_once(&acknowledged).await;
    logged.world.get("/api/v1/endpoints").await;
}

/// Waits until the copy on the disk has the present settings: it was written after they changed.
async fn until_copied(client: &Client, copy: &Path) {
    let changed = std::time::SystemTime::now();
    // A further change has the copy written again.
    let sink = json!({"name": "sink", "url": "http://127.0.0.1:1/x", "events": []});
    assert_eq!(client.post("/api/v1/endpoints", &sink).await.unwrap().status, 201);
    let deadline = Instant::now() + LIMIT;
    let is_newer = || {
        let written = copy.metadata().and_then(|file| file.modified());
        written.is_ok_and(|written| written > changed)
    };
    while !is_newer() {
        assert!(Instant::now() < deadline, "{} is not renewed", copy.display());
        tokio::time::sleep(PACE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_repeats_are_those_of_the_journal() {
    let Some(mut logged) = Logged::start().await else { return };
    let client = logged.world.client().clone();
    for is_away in [false, true] {
        if is_away {
            logged.postgres.stop().unwrap();
        }
        let tag = if is_away { "away" } else { "here" };
        // An event's id.
        let event = merged(invoice(1), &json!({"id": format!("one-{tag}")}));
        let first = client.post(EVENTS, &event).await.unwrap();
        let again = client.post(EVENTS, &event).await.unwrap();
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202));
        assert_eq!(first.data()["duplicate"], json!(false));
        assert_eq!(again.data()["duplicate"], json!(true));
        assert_eq!(first.data()["id"], again.data()["id"]);
        // A list.
        let list = json!([
            merged(invoice(2), &json!({"id": format!("two-{tag}")})),
            merged(invoice(3), &json!({"id": format!("three-{tag}")})),
        ]);
        let first = client.post(EVENTS, &list).await.unwrap().data();
        let again = client.post(EVENTS, &list).await.unwrap().data();
        for n in 0..2 {
            assert_eq!((&first[n]["id"], &again[n]["duplicate"]), (&again[n]["id"], &json!(true)));
        }
        // A key of the request.
        let keyed = |body: &Value| {
            let call = Call::post(EVENTS, "application/json", body.to_string());
            client.send(call.header("idempotency-key", tag))
        };
        let first = keyed(&invoice(4)).await.unwrap();
        let again = keyed(&invoice(4)).await.unwrap();
        assert_eq!(first.data()["id"], again.data()["id"]);
        assert_eq!(again.data()["duplicate"], json!(true));
        let other = keyed(&invoice(5)).await.unwrap();
        assert_eq!(other.status, 422, "{}", other.text());
        // Faults are found before anything is stored.
        let wrong = client.post(EVENTS, &json!({"type": "x", "data": 1})).await.unwrap();
        assert_eq!(wrong.status, 422, "{}", wrong.text());
    }
    logged.postgres.resume().unwrap();
    // Invoices 1 to 4, once each before and during the outage.
    let arrived = logged.receiver.wait_for("/a", 8).await;
    let ids: std::collections::BTreeSet<&str> =
        arrived.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), 8);
    let last = logged.world.event(&invoice(9)).await;
    let path = format!("{EVENTS}/{last}");
    logged.until(&path, |found| found["deliveries"][0]["status"] == "delivered").await;
    assert_eq!(logged.receiver.count("/a"), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immediate_delivery_is_waited_for_or_pending() {
    let Some(mut logged) = Logged::start().await else { return };
    let more = json!({"mode": "immediate", "events": ["order.*"]});
    logged.world.endpoint(&endpoint_with("now", &logged.receiver.url("/now"), &more)).await;
    let order = json!({"type": "order.placed", "data": {"id": 1}});
    let answer = logged.world.post(EVENTS, &order).await;
    let delivery = &answer["deliveries"][0];
    assert_eq!((&delivery["endpoint"], &delivery["status"]), (&json!("now"), &json!("delivered")));
    let arrival = logged.receiver.first("/now").await;
    assert_eq!(arrival.header("webhook-id"), text(delivery, "id"));
    logged.postgres.stop().unwrap();
    let answer = logged.world.post(EVENTS, &order).await;
    assert_eq!(answer["deliveries"][0]["status"], "pending", "{answer:#}");
    logged.postgres.resume().unwrap();
    let arrivals = logged.receiver.wait_for("/now", 2).await;
    assert_eq!(arrivals[1].header("webhook-id"), text(&answer["deliveries"][0], "id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_goes_on_taking_from_the_log() {
    let Some(mut logged) = Logged::start().await else { return };
    let folder = TempDir::new().unwrap();
    std::fs::copy(logged.world.folder().join("waybill.key"), folder.path().join("waybill.key"))
        .unwrap();
    let mut settings = logged.world.settings().clone();
    settings.set("server.data_dir", folder.path().to_str().unwrap());
    let second = Server::start(&settings).unwrap();
    let client = Client::new(second.address(), Some(ADMIN_TOKEN));
    until_ready(&client).await;
    let next = Arc::default();
    let (one, two) = (Load::start(logged.world.client(), &next), Load::start(&client, &next));
    one.until_taken(60).await;
    two.until_taken(60).await;
    // The first node took from the log. The second one goes on when its lease is over.
    logged.world.kill9();
    let mut acknowledged = one.end().await.0;
    two.until_taken(60).await;
    acknowledged.extend(two.end().await.0);
    let deadline = Instant::now() + LIMIT;
    for id in &acknowledged {
        let path = format!("{EVENTS}/{id}");
        loop {
            let answer = client.get(&path).await.unwrap();
            if answer.status == 200 && answer.data()["deliveries"][0]["status"] == "delivered" {
                break;
            }
            assert!(Instant::now() < deadline, "{path} stayed {}", answer.text());
            tokio::time::sleep(PACE).await;
        }
    }
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for arrival in logged.receiver.arrivals("/a") {
        let number = arrival.json()["payload"]["id"].to_string();
        let id = arrival.header("webhook-id").to_owned();
        let known = ids.entry(number.clone()).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "invoice {number} was doubled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_captures_are_refused_and_then_taken_once() {
    let Some(mut logged) = Logged::start().await else { return };
    logged.nats.kill(0).unwrap();
    logged.nats.kill(1).unwrap();
    let event = merged(invoice(1), &json!({"id": "one"}));
    let answer = logged.world.client().post(EVENTS, &event).await.unwrap();
    problem(&answer, 503);
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|after| after >= 1));
    assert_eq!(logged.world.client().get("/readyz").await.unwrap().status, 503);
    logged.nats.resume(0).unwrap();
    logged.nats.resume(1).unwrap();
    until_ready(logged.world.client()).await;
    let deadline = Instant::now() + LIMIT;
    let taken = loop {
        let answer = logged.world.client().post(EVENTS, &event).await.unwrap();
        if answer.status == 202 {
            break text(&answer.data(), "id");
        }
        problem(&answer, 503);
        assert!(Instant::now() < deadline, "it does not recover by itself");
    };
    logged.all_come_once(&[taken]).await;
}

/// The node asks the suspended server, which accepts questions and answers none, and then another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_although_a_server_stands_still() {
    let Some(logged) = Logged::start().await else { return };
    let client = logged.world.client();
    let event = merged(invoice(1), &json!({"id": "one"}));
    let first = client.post(EVENTS, &event).await.unwrap();
    assert_eq!(first.status, 202, "{}", first.text());
    for number in 0..NatsCluster::SERVERS {
        logged.nats.suspend(number).unwrap();
        let deadline = Instant::now() + LIMIT;
        // While the servers choose a leader, the answer is 503 within five seconds.
        let again = loop {
            let answer = client.post(EVENTS, &event).await.unwrap();
            if answer.status == 202 {
                break answer.data();
            }
            problem(&answer, 503);
            assert!(Instant::now() < deadline, "it does not recover by itself");
        };
        assert_eq!((&again["duplicate"], &again["id"]), (&json!(true), &first.data()["id"]));
        until_ready(client).await;
        logged.nats.go_on(number).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_postgresql_refuses_is_set_aside_alone_and_replayed() {
    const REFUSE: &str = "ALTER TABLE event ADD CONSTRAINT refused \
        CHECK (external_id NOT LIKE 'bad%') NOT VALID";
    let Some(logged) = Logged::start().await else { return };
    let database = logged.world.settings().database.clone();
    Database::run(&database, REFUSE).await.unwrap();
    let event = |n: u32, id: &str| merged(invoice(n), &json!({"id": id}));
    let list = json!([event(1, "one"), event(2, "bad"), event(3, "three")]);
    let taken = logged.world.post(EVENTS, &list).await;
    let ids: Vec<String> = (0..3).map(|n| text(&taken[n], "id")).collect();
    logged.all_come_once(&[ids[0].clone(), ids[2].clone()]).await;
    let letters = "/api/v1/dead-letters";
    let is_one = |found: &Value| found.as_array().is_some_and(|letters| letters.len() == 1);
    let letter = logged.until(letters, is_one).await[0].clone();
    assert_eq!((&letter["kind"], &letter["list"]), (&json!("row"), &json!(STREAM)));
    assert!(text(&letter, "detail").contains("refused"), "{letter:#}");
    // While it is refused, a replay leaves it set aside.
    let replay = format!("{letters}/{}/replay", text(&letter, "id"));
    logged.world.post(&replay, &json!({})).await;
    let is_back = |found: &Value| is_one(found) && found[0]["replayed_at"].is_null();
    logged.until(letters, is_back).await;
    Database::run(&database, "ALTER TABLE event DROP CONSTRAINT refused").await.unwrap();
    logged.world.post(&replay, &json!({})).await;
    logged.all_come_once(&ids).await;
    logged.until(letters, |found| found.as_array().is_some_and(Vec::is_empty)).await;
    // The erasure of a record reaches events that are set aside.
    Database::run(&database, REFUSE).await.unwrap();
    logged.world.post(EVENTS, &event(4711, "bad too")).await;
    logged.until(letters, is_one).await;
    let record = logged.world.client().delete("/api/v1/records/invoices/4711?everywhere=true");
    let erased = record.await.unwrap();
    assert_eq!(erased.status, 200, "{}", erased.text());
    logged.until(letters, |found| found.as_array().is_some_and(Vec::is_empty)).await;
}

/// Starts a node of one of two cells, with a database of its own.
async fn start_cell(
    (postgres, nats): (&Cluster, &NatsCluster),
    cell: &str,
) -> Option<(World, Database)> {
    let database = Database::create(&postgres.url("postgres")).await.unwrap();
    let set = |settings: &mut Settings| {
        settings.database = database.url();
        settings.set("capture.log", &nats.url());
        settings.set("capture.cells", "2").set("capture.cell", cell);
    };
    let world = World::start_with(Backend::Sqlite, set).await?;
    until_ready(world.client()).await;
    Some((world, database))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_cells_share_the_records_of_a_stream() {
    const EVENT_COUNT: u32 = 60;
    const RECORDS: u32 = 12;
    if Cluster::find_binaries().is_none() || !NatsServer::is_installed() {
        skip("PostgreSQL or NATS is not on this machine");
        return;
    }
    let (postgres, nats) = (Cluster::start_unsynced().unwrap(), NatsCluster::start().unwrap());
    let servers = (&postgres, &nats);
    let Some((one, _first)) = start_cell(servers, "1").await else { return };
    let Some((two, _second)) = start_cell(servers, "2").await else { return };
    let (receiver, worlds) = (Receiver::start().await, [&one, &two]);
    for (world, path) in worlds.iter().zip(["/1", "/2"]) {
        let ordered = json!({"ordered": true});
        world.endpoint(&endpoint_with("a", &receiver.url(path), &ordered)).await;
    }
    // Either cell takes any event. A list goes to both cells.
    let event = |n: u32| merged(invoice(n % RECORDS), &json!({"id": format!("e{n}")}));
    let list = |n: u32| json!([event(n), event(n + 1)]);
    let mut ids = Vec::new();
    for n in (0..EVENT_COUNT).step_by(2) {
        let taken = worlds[(n / 2 % 2) as usize].post(EVENTS, &list(n)).await;
        ids.extend([text(&taken[0], "id"), text(&taken[1], "id")]);
    }
    // The other cell recognises each repeat.
    for n in (0..EVENT_COUNT).step_by(2) {
        let again = worlds[(n / 2 % 2 + 1) as usize % 2].post(EVENTS, &list(n)).await;
        for place in 0..2 {
            let first = json!(ids[n as usize + place]);
            let repeat = &again[place];
            assert_eq!((&repeat["duplicate"], &repeat["id"]), (&json!(true), &first), "{n}");
        }
    }
    let deadline = Instant::now() + LIMIT;
    while receiver.count("/1") + receiver.count("/2") < EVENT_COUNT as usize {
        assert!(Instant::now() < deadline, "some events do not come");
        tokio::time::sleep(PACE).await;
    }
    let mut places: BTreeMap<String, (&str, Vec<usize>)> = BTreeMap::new();
    for path in ["/1", "/2"] {
        assert!(receiver.count(path) > 0, "no event went to {path}");
        for arrival in receiver.arrivals(path) {
            let event = arrival.json();
            let record = event["payload"]["id"].to_string();
            let n = ids.iter().position(|id| *id == text(&event, "id")).unwrap();
            let (cell, order) = places.entry(record.clone()).or_insert((path, Vec::new()));
            assert_eq!(*cell, path, "invoice {record} is in both cells");
            order.push(n);
        }
    }
    let all: usize = places.values().map(|(_, order)| order.len()).sum();
    assert_eq!((places.len(), all), (RECORDS as usize, EVENT_COUNT as usize));
    for (record, (_, order)) in &places {
        assert!(order.is_sorted(), "invoice {record}: {order:?}");
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "invoice {record} twice");
    }
}
