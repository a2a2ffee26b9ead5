//! The contents of pages: all data of the store, safe from hostile payloads.

use super::Operator;
use crate::support::{endpoint_with, invoice};
use hyper::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

/// A text that would run in a page which does not escape it.
const HOSTILE: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";

/// Starts a world with an endpoint that is well, one that refuses everything, and one event.
async fn with_events(backend: Backend) -> Option<(World, Receiver, String)> {
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    receiver.always("/bad", Reply::with_header(422, "x-why", HOSTILE));
    world.endpoint(&endpoint_with("ledger", &receiver.url("/good"), &json!({}))).await;
    let short = json!({"retry": {"schedule": ["20ms"]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/bad"), &short)).await;
    let id = world.event(&invoice(1042)).await;
    world.eventually("/api/v1/dead-letters", |found| found.as_array().unwrap().len() == 1).await;
    world
        .eventually(&format!("/api/v1/events/{id}"), |event| {
            event["deliveries"].as_array().unwrap().iter().any(|one| one["status"] == "delivered")
        })
        .await;
    Some((world, receiver, id))
}

#[rstest]
#[tokio::test]
async fn every_page_answers_with_one_h1_and_no_style(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, _receiver, id)) = with_events(backend).await else { return };
    let flow = json!({"name": "books", "endpoints": ["ledger"], "events": ["lead.*"]});
    world.post("/api/v1/flows", &flow).await;
    let source = json!({"name": "clock", "kind": "schedule", "schedule": {"cron": "0 0 1 1 *"}});
    world.post("/api/v1/sources", &source).await;
    let letter = text(&world.get("/api/v1/dead-letters").await[0], "id");
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let paths = [
        "/admin",
        "/admin?span=1h",
        "/admin?span=30d",
        "/admin/events",
        "/admin/events?type=invoice.paid&span=24h",
        "/admin/events?type=no.such",
        &format!("/admin/events/{id}"),
        &format!("/admin/events/{id}?step=capture"),
        &format!("/admin/events/{id}?step=d0&tab=sent"),
        &format!("/admin/events/{id}?step=nothing"),
        "/admin/dead-letters",
        "/admin/dead-letters?endpoint=erp&reason=retries_exhausted",
        &format!("/admin/dead-letters/{letter}"),
        "/admin/endpoints",
        "/admin/endpoints/erp",
        "/admin/endpoints/ledger?status=delivered",
        "/admin/sources",
        "/admin/sources/clock",
        "/admin/flows",
        "/admin/flows/books",
        "/admin/modules",
        "/admin/tokens",
        "/admin/tokens/admin",
        "/admin/audit",
        "/admin/audit?status=4xx",
        "/admin/nodes",
        "/admin/search?q=erp",
        "/admin/records/invoice/1042",
        "/admin/endpoints/new",
        "/admin/endpoints/new?kind=email",
        "/admin/endpoints/new?kind=webhook",
        "/admin/endpoints/erp/edit",
        "/admin/endpoints/erp/rotate",
        "/admin/endpoints/erp/delete",
        "/admin/flows/new",
        "/admin/flows/books/edit",
        "/admin/flows/books/run",
        "/admin/sources/new",
        "/admin/sources/new?kind=poll",
        "/admin/sources/clock/edit",
        "/admin/sources/clock/delete",
        "/admin/tokens/new",
        "/admin/tokens/admin/edit",
        "/admin/events?outcome=dead",
        "/admin/search?q=",
    ];
    for path in paths {
        operator.page(path).await;
    }
}

#[rstest]
#[tokio::test]
async fn an_event_tells_why_it_was_not_sent(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some((world, _receiver, id)) = with_events(backend).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let list = operator.page("/admin/events").await;
    assert!(list.contains("Dead letter") && list.contains("Invoice 1042"), "{list}");
    let page = operator.page(&format!("/admin/events/{id}")).await;
    for said in ["Sent to ledger", "erp will not get it without you", "422", "Attempt 2"] {
        assert!(page.contains(said), "{said} in {page}");
    }
    assert!(page.contains("x-why"), "the answer's headers are shown: {page}");
    let lone = world.event(&json!({"type": "lead.created", "data": {"id": 7}})).await;
    let page = operator.page(&format!("/admin/events/{lone}")).await;
    assert!(page.contains("no flow and no endpoint took events of this source and type"), "{page}");
}

#[tokio::test]
async fn a_hostile_payload_is_shown_as_text() {
    let Some((world, receiver, _)) = with_events(Sqlite).await else { return };
    receiver.always("/good", Reply::with_header(200, "x-note", HOSTILE));
    let event = json!({"type": "invoice.paid", "resource_id": HOSTILE, "source": HOSTILE,
        "data": {"id": HOSTILE, "note": HOSTILE}});
    let id = world.event(&event).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let path = format!("/admin/events/{id}");
    for path in
        ["/admin/events", &path, &format!("{path}?step=capture"), "/admin/search?q=%3Cscript%3E"]
    {
        let page = operator.page(path).await;
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{path}: {page}");
        assert!(page.contains("&lt;script&gt;"), "{path} shows it as text: {page}");
    }
    let problem = operator.ask("/admin/events/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(problem.status, StatusCode::NOT_FOUND);
    assert!(!problem.text().contains("<script>alert"), "{}", problem.text());
}

#[tokio::test]
async fn a_long_payload_is_cut_with_a_sentence() {
    let Some(world) = World::start(Sqlite).await else { return };
    let event = json!({"type": "invoice.paid", "data": {"id": 1, "note": "y".repeat(100_000)}});
    let id = world.event(&event).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page(&format!("/admin/events/{id}?step=capture")).await;
    assert!(page.contains("Cut here: these are the first 32,768 of"), "{}", page.len());
    assert!(page.len() < 100_000);
}

#[tokio::test]
async fn the_list_pages_with_its_filter() {
    let Some(world) = World::start(Sqlite).await else { return };
    for n in 0..60 {
        let kind = if n % 2 == 0 { "invoice.paid" } else { "lead.created" };
        world.event(&json!({"type": kind, "resource_id": n.to_string(), "data": {"id": n}})).await;
    }
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let first = operator.page("/admin/events").await;
    assert!(first.contains("50 shown"), "{first}");
    let older = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let second = operator.page(&older.replace("&amp;", "&")).await;
    assert!(second.contains("10 shown") && second.contains("Newest"), "{second}");
    let only = operator.page("/admin/events?type=invoice.paid").await;
    assert!(only.contains("30 shown"), "{only}");
    let table = only.split("<table").nth(1).unwrap();
    assert!(!table.contains("lead.created"), "{table}");
}

#[tokio::test]
async fn before_the_first_event_the_list_says_how_to_send_it() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/events").await;
    assert!(page.contains("No events yet") && page.contains("curl"), "{page}");
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "erp", "url": "http://127.0.0.1:9/hook?token=marked-secret",
        "headers": {"x-key": "marked-secret"}, "events": ["*"]});
    let made: Value = world.endpoint(&settings).await;
    let source = json!({"name": "hooks", "kind": "webhook", "webhook": {"scheme": "github"},
        "secret": "marked-secret-of-the-sender"});
    world.post("/api/v1/sources", &source).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    for path in [
        "/admin",
        "/admin/endpoints",
        "/admin/endpoints/erp",
        "/admin/endpoints/erp/edit",
        "/admin/sources/hooks",
        "/admin/sources/hooks/edit",
        "/admin/tokens/admin",
    ] {
        let page = operator.page(path).await;
        assert!(!page.contains("marked-secret"), "{path}");
        assert!(!page.contains(&text(&made, "secret")) && !page.contains(ADMIN_TOKEN), "{path}");
    }
}

#[tokio::test]
async fn search_leads_to_ids_records_and_names() {
    let Some((world, _receiver, id)) = with_events(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let target = |answer: &waybill_tests::Answer| answer.header("location").to_owned();
    let answer = operator.ask(&format!("/admin/search?q={id}")).await;
    assert!(target(&answer).starts_with("/admin/events/evt"), "{answer:?}");
    let answer = operator.ask("/admin/search?q=Invoice%201042").await;
    assert_eq!(target(&answer), "/admin/records/invoice/1042");
    let found = operator.page("/admin/search?q=ERP").await;
    assert!(found.contains("/admin/endpoints/erp"), "{found}");
    let letter = world.get("/api/v1/dead-letters").await[0].clone();
    let delivery = text(&letter, "delivery_id");
    let answer = operator.ask(&format!("/admin/deliveries/{delivery}")).await;
    assert_eq!(target(&answer), format!("/admin/events/{id}"));
}

#[tokio::test]
async fn a_load_that_fails_is_a_page_that_says_so() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let answer = operator.ask("/admin/events?cursor=rubbish").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text().contains("<h1>Something in this request is wrong"), "{}", answer.text());
    let answer = operator.ask("/admin/endpoints/nothing").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(
        answer.text().contains("There is no endpoint <code>nothing</code>"),
        "{}",
        answer.text()
    );
    let answer = operator.ask("/admin/events?type=a%00b").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}
