//! Investigation: events by text and outcome, the body that was sent, a record's history, a dry
//! run, and the stream that informs open pages of news.

use super::{Operator, hidden_value};
use crate::planning::{chain, world_with_hostile};
use crate::support::{endpoint_with, invoice};
use hyper::StatusCode;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::guest;
use waybill_tests::{Receiver, Reply, World};

/// Starts a world with an endpoint that receives invoices, and one delivered invoice.
async fn with_delivered(backend: Backend) -> Option<(World, Receiver, String)> {
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &json!({}))).await;
    let id = world.event(&invoice(1042)).await;
    world
        .eventually(&format!("/api/v1/events/{id}"), |event| {
            event["deliveries"][0]["status"] == "delivered"
        })
        .await;
    Some((world, receiver, id))
}

#[rstest]
#[tokio::test]
async fn events_are_found_by_text_and_by_outcome(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, _receiver, _)) = with_delivered(backend).await else { return };
    let note = "Café \"Zur Post\"";
    world.event(&json!({"type": "lead.created", "data": {"id": 7, "note": note}})).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let found = operator.page("/admin/events?text=CAF%C3%89%20%22zur").await;
    assert!(found.contains("1 shown") && found.contains("Looked through 2 events"), "{found}");
    let table = |page: &str| page.split("<table").nth(1).unwrap_or_default().to_owned();
    assert!(table(&found).contains("lead.created") && !table(&found).contains("invoice.paid"));
    let found = operator.page("/admin/events?outcome=delivered").await;
    assert!(table(&found).contains("invoice.paid") && !table(&found).contains("lead.created"));
    let found = operator.page("/admin/events?outcome=no-flow&text=1545.81").await;
    assert!(found.contains("No event matches this filter"), "{found}");
    let found = operator.page("/admin/search?q=Zur").await;
    assert!(found.contains("/admin/events?text=Zur"), "{found}");
}

#[rstest]
#[tokio::test]
async fn the_body_that_was_sent_is_made_again_and_proven(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some((world, _receiver, id)) = with_delivered(backend).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let path = format!("/admin/events/{id}?step=d0&tab=body");
    let page = operator.page(&path).await;
    assert!(page.contains("same to the byte"), "{page}");
    assert!(page.contains("&quot;delivery_id&quot;") && page.contains("1545.81"), "{page}");
    world.client().patch("/api/v1/endpoints/erp", &json!({"envelope": "raw"})).await.unwrap();
    let page = operator.page(&path).await;
    assert!(page.contains("it may differ from what was sent"), "{page}");
    world.client().delete("/api/v1/endpoints/erp").await.unwrap();
    let page = operator.page(&path).await;
    assert!(page.contains("It cannot be made again: its endpoint was deleted"), "{page}");
}

#[tokio::test]
async fn a_record_shows_its_states_and_who_knew_each() {
    let Some((world, _receiver, _)) = with_delivered(Sqlite).await else { return };
    let changed = json!({"type": "invoice.updated", "resource_id": "1042",
        "data": {"id": 1042, "total": "<b>9</b>"}});
    let id = world.event(&changed).await;
    world
        .eventually(&format!("/api/v1/events/{id}"), |event| {
            event["deliveries"][0]["status"] == "delivered"
        })
        .await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/records/invoice/1042").await;
    assert!(page.contains("invoice.updated") && page.contains("invoice.paid"), "{page}");
    assert!(page.contains("&lt;b&gt;9&lt;/b&gt;") && !page.contains("<b>9</b>"), "{page}");
    assert_eq!(page.matches("knew it at").count(), 2, "{page}");
    let page = operator.page("/admin/records/invoice/none").await;
    assert!(page.contains("Nothing was captured about this record"), "{page}");
}

#[tokio::test]
async fn a_flow_is_tried_on_a_recent_event_and_nothing_is_sent() {
    let Some((world, receiver, id)) = with_delivered(Sqlite).await else { return };
    world.post("/api/v1/flows", &json!({"name": "books", "endpoints": ["erp"]})).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/flows/books/run").await;
    assert!(page.contains(&id), "the recent event is offered: {page}");
    let sent = receiver.count("/erp");
    let answer = operator.submit("/admin/flows/books/run", &[("recent", &id)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.text().contains("1 delivery would follow"), "{}", answer.text());
    assert_eq!(receiver.count("/erp"), sent);
    let answer = operator.submit("/admin/flows/books/run", &[]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields = [("recent", id.as_str()), ("backtest", "yes")];
    let answer = operator.submit("/admin/flows/books/run", &fields).await;
    assert!(answer.text().contains("choose another version"), "{}", answer.text());
}

#[tokio::test]
async fn versions_are_compared_and_downloaded() {
    let (Some((world, _receiver, _)), Some(wasm)) =
        (with_delivered(Sqlite).await, guest("hot-leads"))
    else {
        return;
    };
    let upload = "/api/v1/modules/hot-leads?activate=true";
    let call = Call::post(upload, "application/wasm", wasm);
    assert_eq!(world.client().send(call).await.unwrap().status, StatusCode::CREATED);
    let flow = json!({"name": "leads", "endpoints": ["erp"], "modules": [{"name": "hot-leads"}]});
    world.post("/api/v1/flows", &flow).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let fields = [("version.hot-leads", "1"), ("backtest", "yes")];
    let answer = operator.submit("/admin/flows/leads/run", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.text().contains("Backtest on 1 recent event"), "{}", answer.text());
    let answer = operator.ask("/admin/modules/hot-leads/versions/1/component").await;
    assert_eq!(answer.status, StatusCode::OK);
    let file = answer.header("content-disposition");
    assert_eq!(file, "attachment; filename=\"hot-leads-v1.wasm\"");
}

/// A stream of news, read as it comes.
struct NewsStream {
    socket: TcpStream,
    read: Vec<u8>,
}

impl NewsStream {
    /// Opens the stream with the cookie of a session.
    async fn open(world: &World, operator: &Operator) -> Self {
        let host = world.server().address().trim_start_matches("http://").to_owned();
        let mut socket = TcpStream::connect(&host).await.unwrap();
        let head = format!(
            "GET /admin/live HTTP/1.1\r\nHost: {host}\r\nCookie: {}\r\n\r\n",
            operator.cookie
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut stream = Self { socket, read: Vec::new() };
        stream.read_until("\r\n\r\n").await;
        stream
    }

    /// Reads until this text has come, or until the end.
    async fn read_until(&mut self, wanted: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if text.contains(wanted) || self.socket.read_buf(&mut self.read).await.unwrap() == 0 {
                return text;
            }
        }
    }
}

#[tokio::test]
async fn an_open_page_hears_of_news_until_its_person_signs_out() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin").await;
    assert!(page.contains("data-live=\"part\""), "{page}");
    let mut stream = NewsStream::open(&world, &operator).await;
    let head = stream.read_until("\r\n\r\n").await;
    assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
    world.event(&json!({"type": "lead.created", "data": {"note": "marked-secret"}})).await;
    let said = stream.read_until("event: news").await;
    assert!(said.contains("event: news") && !said.contains("marked-secret"), "{said}");
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(NewsStream::open(&world, &operator).await);
    }
    let refused = operator.ask("/admin/live").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    operator.submit("/admin/sign-out", &[]).await;
    // The last chunk of a chunked answer (RFC 9112, section 7.1).
    assert!(stream.read_until("\r\n0\r\n\r\n").await.ends_with("0\r\n\r\n"));
    let stranger = world.client_with(None).get("/admin/live").await.unwrap();
    assert_eq!(stranger.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn replays_at_a_rate_show_how_far_they_are_and_can_be_stopped() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/erp", Reply::Status(500));
    let short = json!({"retry": {"schedule": ["20ms"]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &short)).await;
    for n in 0..3 {
        world.event(&invoice(n)).await;
    }
    let dead = "/api/v1/dead-letters";
    world.eventually(dead, |found| found.as_array().unwrap().len() == 3).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let exported = operator.ask("/admin/dead-letters/export?endpoint=erp").await;
    assert_eq!(exported.header("content-type"), "application/x-ndjson");
    assert_eq!(exported.text().lines().count(), 3, "{}", exported.text());
    receiver.always("/erp", Reply::Status(200));
    let page = operator.page("/admin/dead-letters?endpoint=erp").await;
    let form = page.split("action=\"/admin/dead-letters/replay\"").nth(1).unwrap();
    let until = hidden_value(form, "until");
    let fields =
        [("endpoint", "erp"), ("until", until.as_str()), ("count", "3"), ("per_second", "0.001")];
    let answer = operator.submit("/admin/dead-letters/replay", &fields).await;
    let target = answer.header("location");
    assert_eq!(target, "/admin/dead-letters?endpoint=erp&begun=3#progress", "{}", answer.text());
    world.eventually(dead, |found| found.as_array().unwrap().len() == 2).await;
    let page = operator.page("/admin/dead-letters?endpoint=erp&begun=3").await;
    assert!(page.contains("2 replays under way") && page.contains("1 of 3 have ended"), "{page}");
    operator.submit("/admin/dead-letters/stop", &[("endpoint", "erp")]).await;
    let page = operator.page("/admin/dead-letters?endpoint=erp").await;
    assert!(page.contains("2 replays were called off"), "{page}");
    let left = world.get(dead).await;
    assert!(left.as_array().unwrap().iter().all(|one| one["replayed_at"].is_null()), "{left:#}");
}

/// Three modules in a row: the page of the event compares each payload with the one before it.
#[tokio::test]
async fn a_trace_shows_what_each_module_changed() {
    let Some((world, receiver)) = world_with_hostile(Sqlite).await else { return };
    chain(&world, 3, &json!({})).await;
    let last = json!({"do": "tell", "mark": "last"});
    let third = json!({"do": "draft", "payload": last, "mark": "<b>third</b>"});
    let second = json!({"do": "draft", "payload": third, "mark": "second"});
    let first = json!({"do": "draft", "kind": "ledger.entry", "payload": second, "mark": "first"});
    let id = world.event(&json!({"type": "hostile.order", "data": first})).await;
    receiver.first("/sink").await;
    let trace = world.get(&format!("/api/v1/events/{id}")).await;
    let steps = trace["steps"].as_array().unwrap().iter().enumerate();
    let changing: Vec<usize> =
        steps.filter(|(_, step)| step["drafts"].is_array()).map(|(n, _)| n).collect();
    assert_eq!(changing.len(), 3, "{trace:#}");
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let marks = [("first", "second"), ("second", "&lt;b&gt;third"), ("&lt;b&gt;third", "last")];
    for (n, (before, after)) in changing.into_iter().zip(marks) {
        let page = operator.page(&format!("/admin/events/{id}?step=s{n}")).await;
        let detail = page.split("id=\"detail\"").nth(1).unwrap();
        let row = detail.split("<tr>").find(|row| row.contains("<code>mark</code>")).unwrap();
        let (given, made) = (row.find(before), row.find(after));
        assert!(given.is_some() && given < made, "{n}: {row}");
        assert!(!detail.contains("<b>third"), "{n}: {detail}");
    }
}
