//! Trials on the page of a module.

use super::Operator;
use crate::support::token;
use crate::trials::{rerouted, world_with};
use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::server::ADMIN_TOKEN;

const PAGE: &str = "/admin/modules/books";
const TRIAL: &str = "/api/v1/modules/books/trial";

#[tokio::test]
async fn a_page_begins_a_trial_shows_both_versions_and_promotes() {
    let Some((world, receiver)) = world_with(Sqlite, rerouted(), |_, _| {}).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page(PAGE).await;
    assert!(page.contains("Try a version on live events"), "{page}");
    let shadow = [("version", "2"), ("mode", "shadow"), ("share", "100")];
    let answer = operator.submit(&format!("{PAGE}/trial"), &shadow).await;
    assert_eq!(answer.header("location"), PAGE, "{}", answer.text());
    world.event(&json!({"type": "hostile.order", "data": {"do": "echo", "text": "<b>"}})).await;
    receiver.first("/sink").await;
    world.eventually(TRIAL, |found| found["comparison"]["changed"] == 1).await;
    let page = operator.page(PAGE).await;
    for shown in [
        "Version 2 on trial",
        "v1</b>",
        "on trial</span>",
        "passed 1",
        "Roll back…",
        "Promote…",
        "~ [0].endpoint: &quot;sink&quot; → &quot;other&quot;",
        "Newly failing",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("<b>\""), "{page}");
    let wrong = [("version", "2"), ("mode", "canary"), ("share", "ten")];
    let answer = operator.submit(&format!("{PAGE}/trial"), &wrong).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    let usual = [("version", "2"), ("mode", "canary"), ("share", "")];
    operator.submit(&format!("{PAGE}/trial"), &usual).await;
    assert_eq!(world.get(TRIAL).await["share"], 10, "a canary does not take a shadow's share over");
    assert!(operator.page(PAGE).await.contains("canary, 10 %"));
    let canary = [("version", "2"), ("mode", "canary"), ("share", "25"), ("min_calls", "9")];
    operator.submit(&format!("{PAGE}/trial"), &canary).await;
    let found: Value = world.get(TRIAL).await;
    assert_eq!([&found["share"], &found["min_calls"]], [25, 9], "{found:#}");
    operator.submit(&format!("{PAGE}/rollback"), &[]).await;
    let page = operator.page(PAGE).await;
    assert!(page.contains("rolled back by"), "{page}");
    operator.submit(&format!("{PAGE}/trial"), &canary).await;
    operator.submit(&format!("{PAGE}/promote"), &[]).await;
    let page = operator.page(PAGE).await;
    assert!(page.contains("books v2 is active.") && !page.contains("on trial"), "{page}");
}

#[tokio::test]
async fn a_read_only_token_sees_a_trial_and_cannot_change_it() {
    let Some((world, _receiver)) = world_with(Sqlite, rerouted(), |_, _| {}).await else { return };
    world.post("/api/v1/modules/books/versions/2/canary", &json!({"share": 100})).await;
    let settings = json!({"name": "viewer", "scopes": ["read-only"], "rate": 1000});
    let viewer = Operator::sign_in(&world, &token(&world, &settings).await).await;
    let page = viewer.page(PAGE).await;
    assert!(page.contains("Version 2 on trial") && !page.contains("Promote"), "{page}");
    for action in ["trial", "promote", "rollback"] {
        let fields = [("version", "2"), ("mode", "canary"), ("share", "5")];
        let answer = viewer.submit(&format!("{PAGE}/{action}"), &fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}: {}", answer.text());
    }
    assert_eq!(world.get(TRIAL).await["share"], 100);
}
