//! A page shows and does what its token may, by the rules of the REST API.

use super::Operator;
use crate::support::{endpoint_with, invoice, token};
use hyper::StatusCode;
use serde_json::json;
use waybill_tests::Backend::Sqlite;
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, World};

/// Starts a world with a dead letter, and signs in with a token of these settings.
async fn with_operator(settings: serde_json::Value) -> Option<(World, Operator, String)> {
    let world = World::start(Sqlite).await?;
    let receiver = Receiver::start().await;
    receiver.always("/erp", Reply::Status(500));
    let short = json!({"retry": {"schedule": ["20ms"]}});
    world.endpoint(&endpoint_with("erp", &receiver.url("/erp"), &short)).await;
    let event = world.event(&invoice(1)).await;
    world.eventually("/api/v1/dead-letters", |found| found.as_array().unwrap().len() == 1).await;
    let operator = Operator::sign_in(&world, &token(&world, &settings).await).await;
    Some((world, operator, event))
}

/// Returns the forms of a page without those that sign out or search.
fn forms(page: &str) -> Vec<&str> {
    let posts = page.split("<form method=\"post\" action=\"").skip(1);
    let actions = posts.map(|rest| rest.split('"').next().unwrap());
    actions.filter(|action| *action != "/admin/sign-out").collect()
}

#[tokio::test]
async fn a_read_only_token_sees_no_button_and_its_forms_are_refused() {
    let settings = json!({"name": "viewer", "scopes": ["read-only"], "rate": 1000});
    let Some((world, viewer, event)) = with_operator(settings).await else { return };
    let letter = text(&world.get("/api/v1/dead-letters").await[0], "id");
    let pages = [
        "/admin",
        "/admin/events",
        &format!("/admin/events/{event}"),
        "/admin/endpoints",
        "/admin/endpoints/erp",
        "/admin/dead-letters",
        &format!("/admin/dead-letters/{letter}"),
        "/admin/modules",
        "/admin/nodes",
        "/admin/alerts",
    ];
    for path in pages {
        let page = viewer.page(path).await;
        assert_eq!(forms(&page), Vec::<&str>::new(), "{path}");
        assert!(!page.contains("href=\"/admin/tokens\""), "{path} leads to no tokens");
    }
    let admin = Operator::sign_in(&world, waybill_tests::server::ADMIN_TOKEN).await;
    assert!(!forms(&admin.page("/admin/endpoints/erp").await).is_empty());
    let refused = [
        "/admin/endpoints/erp/test",
        "/admin/endpoints/erp/pause",
        "/admin/endpoints/erp/cancel",
        "/admin/dead-letters/replay",
        &format!("/admin/dead-letters/{letter}/replay"),
        &format!("/admin/dead-letters/{letter}/delete"),
        &format!("/admin/events/{event}/replay"),
        "/admin/tokens/new",
        "/admin/endpoints/new",
        "/admin/endpoints/erp/edit",
        "/admin/endpoints/erp/rotate",
        "/admin/endpoints/erp/delete",
        "/admin/flows/new",
        "/admin/sources/new",
        "/admin/module-upload",
        "/admin/dead-letters/stop",
        "/admin/flows/books/run",
        "/admin/flows/books/pause",
        "/admin/sources/clock/pause",
    ];
    for path in refused {
        let answer = viewer.submit(path, &[("until", "0"), ("count", "1")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.text());
        assert!(answer.text().contains("This needs the scope"), "{path}");
    }
    assert_eq!(world.get("/api/v1/endpoints/erp").await["enabled"], true);
    let forms_alone = ["/admin/endpoints/new", "/admin/endpoints/erp/edit", "/admin/sources/new"];
    for path in ["/admin/tokens", "/admin/audit"].into_iter().chain(forms_alone) {
        assert_eq!(viewer.ask(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_token_of_one_scope_is_led_only_to_what_it_may_read() {
    let settings = json!({"name": "flows", "scopes": ["flows:read"], "rate": 1000});
    let Some((_world, operator, event)) = with_operator(settings).await else { return };
    let page = operator.page("/admin").await;
    assert!(page.contains("href=\"/admin/flows\""), "{page}");
    for hidden in ["/admin/events", "/admin/endpoints", "/admin/dead-letters", "/admin/audit"] {
        assert!(!page.contains(&format!("href=\"{hidden}\"")), "{hidden}");
        assert_eq!(operator.ask(hidden).await.status, StatusCode::FORBIDDEN, "{hidden}");
    }
    let answer = operator.ask(&format!("/admin/events/{event}")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!operator.page("/admin/search?q=erp").await.contains("/admin/endpoints/erp"));
}

#[tokio::test]
async fn a_token_of_some_tables_sees_only_their_events() {
    let settings = json!({"name": "leads", "scopes": ["read-only"], "tables": ["lead"],
        "rate": 1000});
    let Some((world, operator, invoice)) = with_operator(settings).await else { return };
    let lead = world.event(&json!({"type": "lead.created", "resource_id": "7", "data": {}})).await;
    let list = operator.page("/admin/events").await;
    assert!(list.contains("lead.created") && !list.contains("invoice.paid"), "{list}");
    operator.page(&format!("/admin/events/{lead}")).await;
    let answer = operator.ask(&format!("/admin/events/{invoice}")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "as if it did not exist");
    let answer = operator.ask("/admin/events?resource=invoice").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // A page that could be about any table is not permitted.
    assert_eq!(operator.ask("/admin/dead-letters").await.status, StatusCode::FORBIDDEN);
    let page = operator.page("/admin").await;
    assert!(!page.contains("dead letter") && !page.contains("Events in"), "{page}");
    let page = operator.page("/admin/endpoints/erp").await;
    assert!(!page.contains("Deliveries</h2>"), "{page}");
}

#[tokio::test]
async fn an_action_is_on_record_with_its_token() {
    let settings = json!({"name": "mara", "scopes": ["endpoints:write"]});
    let Some((world, operator, _)) = with_operator(settings).await else { return };
    operator.submit("/admin/endpoints/erp/pause", &[]).await;
    let calls = world.get("/api/v1/audit?token=mara&method=POST").await;
    let calls = calls.as_array().unwrap();
    let paused = calls.iter().find(|call| call["route"] == "/admin/endpoints/{id}/pause");
    assert_eq!(paused.unwrap()["status"], 303, "{calls:#?}");
}
