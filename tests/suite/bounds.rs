//! Everything that a client can make the server hold or read is bounded in bytes and rows, not in
//! numbers of objects: resident memory stays under 300 MB, and a filter that matches nothing reads
//! little.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Request;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::world::LIMIT;
use waybill_tests::{Backend, Receiver, Reply, Settings, World};

use crate::connections::connect;
use crate::support::{announce, endpoint_with, first_run, invoice};

const EVENTS: &str = "/api/v1/events";

/// Largest memory of the server so far, in megabytes.
const MOST: u64 = 300;

/// Fails the test if the server had more memory at any time.
pub(crate) fn assert_small(world: &World, case: &str) {
    let status = format!("/proc/{}/status", world.server().pid());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    let megabytes = kibibytes * 1024 / 1_000_000;
    announce(&format!("{case}: at most {megabytes} MB were resident"));
    assert!(megabytes < MOST, "{case}: {megabytes} MB were resident, at most {MOST} may be");
}

/// Captures events in batches.
async fn capture(world: &World, events: impl Iterator<Item = Value>) {
    let events: Vec<Value> = events.collect();
    for batch in events.chunks(500) {
        world.post(EVENTS, &json!(batch)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sorted_list_holds_no_records() {
    let set = |settings: &mut Settings| {
        settings.set("server.max_body", "8000000");
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    // Small as text; as a tree it takes sixteen times as much.
    let zeros = vec![0; 3_000];
    let record = |id: u32| {
        let data = json!({"id": id, "total": (id * 7_919 % 10_007).to_string(), "zeros": zeros});
        json!({"type": "invoice.updated", "resource_id": id.to_string(), "data": data})
    };
    capture(&world, (0..10_000).map(record)).await;
    let path = "/api/v1/invoices?sort=-total&per_page=3&fields=total";
    let lists = join_all((0..4).map(|_| world.get(path))).await;
    for list in lists {
        let totals: Vec<&str> =
            list.as_array().unwrap().iter().map(|one| one["total"].as_str().unwrap()).collect();
        assert!(totals.is_sorted_by_key(|total| -total.parse::<i64>().unwrap()), "{totals:?}");
        assert_eq!(totals.len(), 3);
    }
    assert_small(&world, "a sorted list of 10,000 records");
}

/// A body whose last byte does not come.
struct Withheld(usize);

impl Body for Withheld {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Pending;
        }
        let piece = self.0.min(16 * 1024);
        self.0 -= piece;
        Poll::Ready(Some(Ok(Frame::data(vec![b' '; piece].into()))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_strangers_are_held_within_bounds() {
    let set = |settings: &mut Settings| {
        settings.set("server.body_timeout", "8s");
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let settings = json!({"name": "hook", "kind": "webhook", "webhook": {"scheme": "github"}, "secret": "It's a secret"});
    world.post("/api/v1/sources", &settings).await;
    let mut asked = Vec::new();
    for source in ["hook", "nosuch"] {
        let stream = TokioIo::new(connect(&world).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..250 {
            let request = Request::post(format!("http://a/in/{source}"))
                .header("content-length", 1_048_576)
                .body(Withheld(1_048_575))
                .unwrap();
            let mut sender = sender.clone();
            asked.push(tokio::spawn(async move {
                sender.ready().await.unwrap();
                sender.send_request(request).await.map(|answer| answer.status().as_u16())
            }));
        }
    }
    // Callers with a token are served meanwhile.
    world.event(&invoice(1)).await;
    for answer in join_all(asked).await {
        let status = answer.unwrap().unwrap();
        assert!([404, 408, 503].contains(&status), "{status}");
    }
    assert_small(&world, "500 bodies of 1 MB on two connections without a token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_hangs_holds_few_large_events() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/hung", Reply::Hang);
    world.endpoint(&endpoint_with("hung", &receiver.url("/hung"), &json!({}))).await;
    let more = json!({"events": ["task.*"]});
    world.endpoint(&endpoint_with("good", &receiver.url("/good"), &more)).await;
    let pad = "x".repeat(1_000_000);
    for id in 0..250 {
        world.event(&json!({"type": "invoice.paid", "data": {"id": id, "pad": pad}})).await;
    }
    receiver.first("/hung").await;
    world.event(&json!({"type": "task.created", "data": {"id": 1, "pad": pad}})).await;
    receiver.first("/good").await;
    assert_small(&world, "250 events of 1 MB for an endpoint that hangs");
}

/// Returns a source that asks the receiver for one list.
fn api(name: &str, receiver: &Receiver) -> Value {
    let list = json!({"path": format!("/{name}"), "resource": "order"});
    let poll = json!({"url": receiver.url(""), "every": "1h", "lists": [list],
        "since": {"parameter": "since", "format": "none"}, "paging": {"page": "", "size": "", "rows": 100}});
    json!({"name": name, "kind": "poll", "secret": "s3cret", "poll": poll})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_page_of_an_api_is_read_row_by_row() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let zeros = "0,".repeat(900);
    let rows: Vec<String> =
        (0..15_000).map(|id| format!(r#"{{"id":{id},"zeros":[{zeros}0]}}"#)).collect();
    let rows = format!(r#"{{"data":[{}]}}"#, rows.join(","));
    let tiny = format!("[{}0]", "0,".repeat(14_500_000));
    for (name, body) in [("rows", rows), ("tiny", tiny)] {
        assert!((27_000_000..30_000_000).contains(&body.len()), "{name}: {}", body.len());
        let reply = Reply::Full { status: 200, headers: Vec::new(), body: body.into() };
        // Without any parameter, the requested path ends with the mark.
        receiver.always(&format!("/{name}?"), reply);
    }
    let run = first_run(&world, &api("rows", &receiver)).await;
    assert_eq!((&run["error"], &run["rows"]), (&Value::Null, &json!(15_000)), "{run:#}");
    let run = first_run(&world, &api("tiny", &receiver)).await;
    assert!(run["error"].as_str().unwrap().contains("rows are no objects"), "{run:#}");
    assert_small(&world, "two pages of 29 MB of a polled API");
}

/// Returns all ids of a list, and the number of its pages.
async fn read_all(world: &World, path: &str) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = world.client().get(&format!("{path}{cursor}")).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.text());
        ids.extend(crate::support::texts(&page.data(), "id"));
        pages += 1;
        match page.json()["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (ids, pages),
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_looks_through_a_bounded_part_of_a_list(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let rare = world.event(&json!({"type": "rare.seen", "data": {}})).await;
    let usual = |id: u32| json!({"type": "usual.seen", "source": "shop", "data": {"id": id}});
    capture(&world, (0..11_000).map(usual)).await;
    for filter in ["type=rare.seen", "type=rare.seen&since=2020-01-01T00:00:00Z"] {
        let (ids, pages) = read_all(&world, &format!("{EVENTS}?limit=200&{filter}")).await;
        assert_eq!((ids.as_slice(), pages), ([rare.clone()].as_slice(), 2), "{filter}");
    }
    let (ids, pages) = read_all(&world, &format!("{EVENTS}?limit=200&type=nosuch.seen")).await;
    assert_eq!((ids.len(), pages), (0, 2), "it stops after 10,000 and goes on when asked to");
    // Times are bounds of the ids, so no rows are examined for them.
    let (ids, pages) =
        read_all(&world, &format!("{EVENTS}?limit=200&type=usual.seen&since=2999-01-01T00:00:00Z"))
            .await;
    assert_eq!((ids.len(), pages), (0, 1));
    let (ids, _) = read_all(&world, &format!("{EVENTS}?limit=200&source=shop")).await;
    assert_eq!(ids.len(), 11_000, "none is missed, none comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_large_events_is_short_and_names_the_next() {
    let Some(world) = World::start(Sqlite).await else { return };
    let pad = "x".repeat(1_000_000);
    let mut captured = Vec::new();
    for id in 0..9 {
        let event = json!({"type": "note.added", "data": {"id": id, "pad": pad}});
        captured.push(world.event(&event).await);
    }
    let (mut ids, pages) = read_all(&world, &format!("{EVENTS}?limit=200")).await;
    ids.reverse();
    assert_eq!(ids, captured);
    assert_eq!(pages, 3, "4 MiB a page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oauth_form_is_short() {
    let Some(world) = World::start(Sqlite).await else { return };
    let form = format!("grant_type=client_credentials&client_id={}", "x".repeat(20_000));
    let call = Call::post("/oauth/token", "application/x-www-form-urlencoded", form);
    let answer = tokio::time::timeout(LIMIT, world.client_with(None).send(call)).await;
    assert_eq!(answer.unwrap().unwrap().status, 413);
}
