//! Retention periods, and that erased data is nowhere any more.

use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::site::{KEY, now};
use waybill_tests::world::text;
use waybill_tests::{Answer, Dialect, Receiver, Reply, Settings, Site, World};

use crate::poll;
use crate::support::{assert_problem, caller, endpoint_with, merged, problem, texts};

/// A text that must not be found anywhere once its record is erased.
const MARKER: &str = "erase-me-7f3a@example.com";

/// Keeps everything for a second only, except dead letters.
fn keep_a_second(settings: &mut Settings) {
    for kind in ["payloads", "plans", "attempts", "deliveries", "events", "deleted_records"] {
        settings.set(&format!("retention.{kind}"), "1s");
    }
}

/// Returns an event of a type that the catalogue does not know, so that no record holds it.
fn order(id: u32, filler: &str) -> Value {
    json!({"type": "order.placed", "resource_id": id.to_string(), "data": {"id": id, "note": filler}})
}

/// Returns an endpoint for these events.
fn orders(name: &str, url: &str, more: &Value) -> Value {
    let mut endpoint = endpoint_with(name, url, &json!({"events": ["order.*"]}));
    for (key, value) in more.as_object().unwrap() {
        endpoint[key] = value.clone();
    }
    endpoint
}

#[tokio::test]
async fn a_payload_goes_and_its_trace_stays() {
    for backend in [Sqlite, Postgres] {
        let short = |settings: &mut Settings| {
            settings.set("retention.payloads", "1s");
        };
        let Some(world) = World::start_with(backend, short).await else { return };
        let receiver = Receiver::start().await;
        world.endpoint(&orders("shop", &receiver.url("/a"), &json!({}))).await;
        let invoice = json!({"id": "1", "status": "1", "total": "1.00"});
        let first = json!({"type": "invoice.created", "data": invoice});
        let (first, second) = (world.event(&first).await, world.event(&first).await);
        let last = world.event(&order(1, "x")).await;
        receiver.first("/a").await;

        let path = format!("/api/v1/events/{last}");
        let pruned = world.eventually(&path, |found| found["payload_pruned_at"].is_string()).await;
        assert_eq!(pruned["data"], Value::Null);
        assert_eq!(pruned["deliveries"][0]["status"], "delivered", "{pruned:#}");
        assert_eq!(pruned["deliveries"][0]["attempts"].as_array().unwrap().len(), 1);
        let summary = pruned["summary"].as_str().unwrap();
        assert!(summary.contains("1 delivered"), "{summary}");
        assert!(summary.contains("payload was pruned after"), "{summary}");

        let delivery = text(&pruned["deliveries"][0], "id");
        for path in [format!("{path}/replay"), format!("/api/v1/deliveries/{delivery}/replay")] {
            let refused = world.client().post(&path, &json!({})).await.unwrap();
            assert_problem(&refused, StatusCode::CONFLICT, "pruned after");
            assert_problem(&refused, StatusCode::CONFLICT, "retention.payloads");
        }
        assert_eq!(receiver.count("/a"), 1);

        // Of the two older ones, the one that the record has left behind lost its payload; the
        // other is the record.
        let path = format!("/api/v1/events/{first}");
        world.eventually(&path, |found| found["payload_pruned_at"].is_string()).await;
        let held = world.get(&format!("/api/v1/events/{second}")).await;
        assert_eq!(held["data"], invoice, "{held:#}");
        assert_eq!(world.get("/api/v1/invoices/1").await["total"], "1.00");
    }
}

#[tokio::test]
async fn open_work_is_kept_however_old_it_is() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start_with(backend, keep_a_second).await else { return };
        let receiver = Receiver::start().await;
        for (path, status) in [("/later", 500), ("/dead", 500), ("/good", 200)] {
            receiver.always(path, Reply::Status(status));
            let schedule = if path == "/later" { json!(["1h"]) } else { json!([]) };
            let name = path.trim_start_matches('/');
            let more =
                json!({"events": [format!("order.{name}")], "retry": {"schedule": schedule}});
            world.endpoint(&orders(name, &receiver.url(path), &more)).await;
        }
        let mut ids = Vec::new();
        for name in ["later", "dead", "good"] {
            let event = json!({"type": format!("order.{name}"), "data": {"id": 1}});
            ids.push(world.event(&event).await);
            receiver.first(&format!("/{name}")).await;
        }
        // The last of them is gone, so the first were examined.
        until_gone(&world, &format!("/api/v1/events/{}", ids[2])).await;
        let waiting = world.get(&format!("/api/v1/events/{}", ids[0])).await;
        assert_eq!(waiting["data"], json!({"id": 1}));
        assert_eq!(waiting["deliveries"][0]["status"], "pending", "{waiting:#}");
        assert_eq!(waiting["deliveries"][0]["attempts"].as_array().unwrap().len(), 1);
        let dead = world.eventually("/api/v1/dead-letters", |found| found[0].is_object()).await;
        let letter = format!("/api/v1/dead-letters/{}", text(&dead[0], "id"));
        let shown = world.get(&letter).await;
        assert_eq!(shown["event"]["data"], json!({"id": 1}), "{shown:#}");
        assert_eq!(shown["delivery"]["attempts"].as_array().unwrap().len(), 1, "{shown:#}");

        receiver.always("/dead", Reply::Status(200));
        let answer = world.client().post(&format!("{letter}/replay"), &json!({})).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        until_gone(&world, &format!("/api/v1/events/{}", ids[1])).await;
        assert_eq!(receiver.count("/dead"), 2);
        let waiting = world.get(&format!("/api/v1/events/{}", ids[0])).await;
        assert_eq!(waiting["deliveries"][0]["status"], "pending", "{waiting:#}");
    }
}

/// Waits until an object no longer exists.
async fn until_gone(world: &World, path: &str) {
    let deadline = std::time::Instant::now() + waybill_tests::world::LIMIT;
    while world.client().get(path).await.unwrap().status != StatusCode::NOT_FOUND {
        assert!(std::time::Instant::now() < deadline, "{path} is still there");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn deleted_records_and_dead_letters_are_forgotten_too() {
    for backend in [Sqlite, Postgres] {
        let short = |settings: &mut Settings| {
            keep_a_second(settings);
            settings.set("retention.dead_letters", "1s").set("retention.records", "1s");
        };
        let Some(world) = World::start_with(backend, short).await else { return };
        let receiver = Receiver::start().await;
        receiver.always("/a", Reply::Status(500));
        let more = json!({"events": ["*"], "retry": {"schedule": []}});
        world.endpoint(&orders("all", &receiver.url("/a"), &more)).await;
        let mut ids = Vec::new();
        for (what, id) in [("created", 1), ("deleted", 1), ("created", 2)] {
            let data = json!({"id": id.to_string(), "status": "1", "total": "1.00"});
            let event = json!({"type": format!("invoice.{what}"), "data": data});
            ids.push(world.event(&event).await);
        }
        receiver.wait_for("/a", 3).await;
        for id in ids {
            until_gone(&world, &format!("/api/v1/events/{id}")).await;
        }
        for list in ["dead-letters", "deliveries", "invoices"] {
            assert_eq!(world.get(&format!("/api/v1/{list}")).await, json!([]), "{list}");
        }
    }
}

/// Returns the size of an SQLite database once its log is copied into the file.
fn database_bytes(file: &Path) -> u64 {
    let database = rusqlite::Connection::open(file).unwrap();
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: i64 = database.query_row(size, [], |row| row.get(0)).unwrap();
    bytes.unsigned_abs()
}

/// Returns a text that no compression shortens by a quarter.
fn noise(length: usize) -> String {
    let characters = ('#'..='~').filter(|character| *character != '\\');
    let characters: Vec<char> = characters.collect();
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        characters[(state >> 16) as usize % characters.len()]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn the_file_gives_back_what_is_pruned() {
    const EVENTS: u32 = 4_000;
    let Some(mut world) = World::start(Sqlite).await else { return };
    let filler = noise(4_000);
    for first in (0..EVENTS).step_by(200) {
        let batch: Vec<Value> = (first..first + 200).map(|id| order(id, &filler)).collect();
        world.post("/api/v1/events", &json!(batch)).await;
    }
    world.stop();
    let file = world.folder().join("waybill.db");
    let before = std::fs::metadata(&file).unwrap().len();
    assert!(before > 16 << 20, "{before} bytes");
    world.restart_with(keep_a_second);
    // Captures continue meanwhile.
    world.event(&order(EVENTS, "x")).await;
    world.server().wait_for_line(&["gave back pages"]).unwrap();
    world.eventually("/api/v1/events", |found| found.as_array().unwrap().len() <= 1).await;
    // Pages are returned some time after their events are gone.
    let deadline = std::time::Instant::now() + waybill_tests::world::LIMIT;
    while database_bytes(&file) >= before / 2 && std::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.stop();
    let after = std::fs::metadata(&file).unwrap().len();
    assert!(after < before / 2, "{before} bytes before, {after} after");
}

/// Returns the database files of a world on SQLite.
fn files(world: &World) -> Vec<PathBuf> {
    let name = |end: &str| world.folder().join(format!("waybill.db{end}"));
    ["", "-wal", "-shm"].map(name).into_iter().filter(|path| path.exists()).collect()
}

/// Returns the bytes under which a record's payloads stand in the file: the marker, and the
/// beginning of each compressed payload. A long payload is spread over pages.
fn traces_of(world: &World, record: &str) -> Vec<Vec<u8>> {
    let database = rusqlite::Connection::open(world.folder().join("waybill.db")).unwrap();
    let mut payloads = database
        .prepare("SELECT packed FROM event WHERE resource_id = ?1 AND packed IS NOT NULL")
        .unwrap();
    let packed = payloads.query_map([record], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let begin = |bytes: Vec<u8>| bytes.into_iter().take(100).collect();
    let mut traces: Vec<Vec<u8>> = packed.map(|bytes| begin(bytes.unwrap())).collect();
    assert!(!traces.is_empty(), "payloads are compressed");
    traces.push(MARKER.into());
    traces
}

/// Counts the occurrences of any of these bytes in a file.
fn count_traces(path: &Path, traces: &[Vec<u8>]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let count = |trace: &Vec<u8>| bytes.windows(trace.len()).filter(|found| found == trace).count();
    traces.iter().map(count).sum()
}

async fn erase(world: &World, record: &str) -> Answer {
    let path = format!("/api/v1/records/{record}");
    world.client().send(Call::new(Method::DELETE, &path)).await.unwrap()
}

async fn erased(world: &World, record: &str) -> Value {
    let answer = erase(world, record).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.data()
}

/// Captures an event of a customer.
async fn customer(world: &World, what: &str, id: u32, email: &str, filler: usize) -> String {
    let note = "Lorem ipsum ".repeat(filler);
    let data = json!({
        "userid": id.to_string(), "company": "A", "note": note, "email": email, "active": "1",
    });
    let event = json!({"type": format!("customer.{what}"), "source": "crm", "data": data});
    world.event(&event).await
}

/// Creates customers of whom one is marked, with deliveries that succeeded, wait and died.
async fn populate(world: &World, receiver: &Receiver) {
    for (path, status, schedule) in
        [("/good", 200, json!([])), ("/later", 500, json!(["1h"])), ("/dead", 500, json!([]))]
    {
        // A receiver's answer is stored with the attempt.
        receiver.always(path, Reply::Full { status, headers: Vec::new(), body: MARKER.into() });
        let more = json!({"events": ["customer.*"], "retry": {"schedule": schedule}});
        let name = path.trim_start_matches('/');
        world.endpoint(&orders(name, &receiver.url(path), &more)).await;
    }
    for filler in [1, 3_000, 20, 400, 1] {
        customer(world, "updated", 9, MARKER, filler).await;
    }
    for path in ["/good", "/later", "/dead"] {
        receiver.wait_for(path, 5).await;
        receiver.always(path, Reply::Status(if path == "/good" { 200 } else { 500 }));
    }
    for id in 1..=30 {
        customer(world, "created", id + 100, "somebody@example.com", 50).await;
    }
    let died = |found: &Value| found.as_array().unwrap().len() == 35;
    world.eventually("/api/v1/dead-letters?limit=200", died).await;
}

#[tokio::test]
async fn an_erased_record_is_nowhere_in_the_files() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    populate(&world, &receiver).await;
    let traces = traces_of(&world, "9");
    let all = || files(&world).iter().map(|path| count_traces(path, &traces)).sum::<usize>();
    assert!(all() >= traces.len(), "they were there");

    let done = erased(&world, "customers/9?everywhere=true").await;
    assert_eq!((&done["records"], &done["events"]), (&json!(1), &json!(5)), "{done:#}");
    assert_eq!((&done["deliveries"], &done["dead_letters"]), (&json!(15), &json!(5)), "{done:#}");
    assert_eq!((&done["attempts"], &done["log_emptied"]), (&json!(15), &json!(true)), "{done:#}");
    assert_eq!(all(), 0);
    assert_nothing_is_left(&world).await;
}

#[tokio::test]
async fn an_erased_record_is_nowhere_in_postgresql_s_tables() {
    let Some(world) = World::start(Postgres).await else { return };
    let receiver = Receiver::start().await;
    populate(&world, &receiver).await;
    let done = erased(&world, "customers/9?everywhere=true").await;
    assert_eq!((&done["events"], &done["deliveries"]), (&json!(5), &json!(15)), "{done:#}");
    assert_eq!(done["log_emptied"], false, "its log is not ours to empty");
    assert_nothing_is_left(&world).await;
}

async fn assert_nothing_is_left(world: &World) {
    let about = "resource=customer&resource_id=9";
    assert_eq!(world.get(&format!("/api/v1/events?{about}")).await, json!([]));
    let gone = world.client().get("/api/v1/customers/9").await.unwrap();
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    for list in ["events", "deliveries", "dead-letters", "customers"] {
        let rows = world.client().get(&format!("/api/v1/{list}?limit=200")).await.unwrap().text();
        assert!(!rows.contains(MARKER), "{list}: {rows}");
        assert!(rows.contains("customer") || list == "customers", "others are there: {rows}");
    }
    let others = world.get("/api/v1/customers?limit=100").await;
    assert_eq!(others.as_array().unwrap().len(), 30);
    // A repeated call has nothing to do, and is audited too.
    let again = erased(world, "customers/9?everywhere=true").await;
    assert_eq!(again["events"], 0);
    let audit = world.get("/api/v1/audit?method=DELETE").await;
    let routes = texts(&audit, "route");
    assert_eq!(routes, ["/api/v1/records/{resource}/{id}", "/api/v1/records/{resource}/{id}"]);
}

#[tokio::test]
async fn erasing_asks_whose_record_and_who_may() {
    let Some(world) = World::start(Sqlite).await else { return };
    for source in ["crm-a", "crm-b"] {
        let data = json!({"id": "17", "total": "1.00", "status": "1"});
        world.event(&json!({"type": "invoice.created", "source": source, "data": data})).await;
    }
    let unsaid = erase(&world, "invoices/17").await;
    assert_eq!(problem(&unsaid, 422)[0].0, "everywhere");
    let ambiguous = erase(&world, "invoices/17?everywhere=true").await;
    assert_problem(&ambiguous, StatusCode::UNPROCESSABLE_ENTITY, "crm-b");
    let reader = caller(&world, &json!({"name": "r", "scopes": ["records:read"]})).await;
    let path = "/api/v1/records/invoices/17?everywhere=true&source=crm-a";
    let refused = reader.send(Call::new(Method::DELETE, path)).await.unwrap();
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let done = erased(&world, "invoices/17?everywhere=true&source=crm-a").await;
    assert_eq!(done["events"], 1);
    assert_eq!(world.get("/api/v1/invoices/17").await["waybill_source"], "crm-b");
    // For a resource that the catalogue does not know there is no state, but there are events.
    world.event(&order(5, MARKER)).await;
    assert_eq!(erased(&world, "order/5?everywhere=true").await["events"], 1);
}

#[tokio::test]
async fn what_a_source_kept_of_an_erased_record_is_gone_and_not_told_again() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Perfexapi).await;
    let row = |id: u32, total: &str, email: &str| json!({"id": id, "total": total, "email": email, "datecreated": site.stamp(now())});
    let stamped = row(1, "1.00", MARKER);
    site.put("invoices", 1, stamped.clone());
    site.put("invoices", 2, row(2, "1.00", "somebody@example.com"));
    let read = json!({
        "preset": "perfexapi", "url": site.url(), "lists": ["invoices"], "every": "1h",
    });
    let source = json!({"name": "crm", "kind": "poll", "secret": KEY, "poll": read});
    world.post("/api/v1/sources", &source).await;
    poll::run(&world, "crm").await;
    let mut changed = stamped;
    changed["total"] = json!("2.00");
    site.put("invoices", 1, changed);
    poll::run(&world, "crm").await;
    assert_eq!(poll::events(&world, "crm").await.len(), 1, "it was updated");
    let traces = traces_of(&world, "1");

    let done = erased(&world, "invoices/1?everywhere=true").await;
    assert_eq!((&done["events"], &done["kept_rows"]), (&json!(1), &json!(1)), "{done:#}");
    for path in files(&world) {
        assert_eq!(count_traces(&path, &traces), 0, "{}", path.display());
    }
    poll::run(&world, "crm").await;
    assert_eq!(poll::events(&world, "crm").await, Vec::<Value>::new(), "it is no new row");

    // A row that was only stored, and one that cannot become an event.
    assert_eq!(erased(&world, "invoices/2?everywhere=true").await["kept_rows"], 1);
    let mut deep = json!([]);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let mut bad = row(3, "1.00", MARKER);
    bad["deep"] = deep;
    site.put("invoices", 3, bad);
    poll::run(&world, "crm").await;
    let letters = world.get("/api/v1/dead-letters?kind=row").await;
    assert_eq!(texts(&letters, "row"), ["3"], "{letters:#}");
    assert_eq!(erased(&world, "invoices/3?everywhere=true").await["dead_letters"], 1);
    assert_eq!(world.get("/api/v1/dead-letters").await, json!([]));
}

#[tokio::test]
async fn a_row_of_a_list_that_is_not_read_any_more_is_erased() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Perfexapi).await;
    let row = json!({"id": 4, "total": "1.00", "email": MARKER, "datecreated": site.stamp(now())});
    site.put("invoices", 4, row);
    let read = json!({
        "preset": "perfexapi", "url": site.url(), "lists": ["invoices"], "every": "1h",
    });
    let source = json!({"name": "crm", "kind": "poll", "secret": KEY, "poll": read});
    world.post("/api/v1/sources", &source).await;
    poll::run(&world, "crm").await;
    let other = json!({"poll": merged(read, &json!({"lists": ["customers"]}))});
    let answer = world.client().patch("/api/v1/sources/crm", &other).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(erased(&world, "invoices/4?everywhere=true").await["kept_rows"], 1);
    for path in files(&world) {
        assert_eq!(count_traces(&path, &[MARKER.into()]), 0, "{}", path.display());
    }
}
