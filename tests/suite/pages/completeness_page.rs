//! Completeness on the pages.

use super::{Operator, hidden_value};
use crate::completeness::Day;
use crate::support::token;
use hyper::StatusCode;
use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::text;

const GRID: &str = "/admin/completeness";

/// Returns the address of the page of today's gaps.
async fn today(day: &Day) -> String {
    let found = day.world.get("/api/v1/completeness?endpoint=erp").await;
    format!("{GRID}/erp/{}", text(&found, "day"))
}

#[rstest]
#[tokio::test]
async fn the_grid_leads_to_the_gaps_and_the_button_sends_just_those(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(day) = Day::start(backend).await else { return };
    let operator = Operator::sign_in(&day.world, ADMIN_TOKEN).await;
    let here = today(&day).await;
    let grid = operator.page(GRID).await;
    assert!(grid.contains("1 endpoint has gaps"), "{grid}");
    assert!(grid.contains(&format!("href=\"{here}\"")) && grid.contains(": 3 gaps"), "{grid}");
    assert!(grid.contains("aria-current=\"page\">Completeness"), "the navigation leads here");
    let endpoint = operator.page("/admin/endpoints/erp").await;
    assert!(endpoint.contains(&format!("href=\"{here}\"")), "{endpoint}");

    let page = operator.page(&here).await;
    assert!(page.contains(">3 gaps<") && page.contains("UTC"), "{page}");
    for event in [&day.dead, &day.cancelled, &day.disabled] {
        assert!(page.contains(&format!("href=\"/admin/events/{event}\"")), "{event}: {page}");
    }
    for event in [&day.delivered, &day.dropped] {
        assert!(!page.contains(event.as_str()), "{event} is not a gap: {page}");
    }
    for reason in ["<code>erp</code> is disabled", "its delivery was called off", "where was false"]
    {
        assert!(page.contains(reason), "{reason}: {page}");
    }
    let fields = ["endpoint", "day", "count"].map(|name| (name, hidden_value(&page, name)));
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let sent_before = day.receiver.count("/erp");
    let wrong = [fields[0], fields[1], ("count", "2")];
    operator.submit(&format!("{GRID}/send"), &wrong).await;
    let refused = operator.page(&here).await;
    assert!(refused.contains("Nothing was sent: 3 gaps can be sent now"), "{refused}");
    assert_eq!(day.receiver.count("/erp"), sent_before);

    let answer = operator.submit(&format!("{GRID}/send"), &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    assert_eq!(answer.header("location"), here);
    let page = operator.page(&here).await;
    assert!(page.contains("2 deliveries are sent again, 1 new delivery is made."), "{page}");
    day.receiver.wait_for("/erp", sent_before + 3).await;
    let look = "/api/v1/completeness?endpoint=erp";
    day.world.eventually(look, |found| found["state"] == "complete").await;
    let page = operator.page(&here).await;
    assert!(page.contains("There are no gaps here") && !page.contains("Send "), "{page}");
    assert!(operator.page(GRID).await.contains("<h1>No gaps</h1>"));
}

#[tokio::test]
async fn who_may_only_read_sees_the_gaps_and_no_button() {
    let Some(day) = Day::start(Sqlite).await else { return };
    let settings = json!({"name": "viewer", "scopes": ["read-only"], "rate": 1000});
    let viewer = Operator::sign_in(&day.world, &token(&day.world, &settings).await).await;
    let page = viewer.page(&today(&day).await).await;
    assert!(page.contains(">3 gaps<") && !page.contains("/admin/completeness/send"), "{page}");
    let fields = [("endpoint", "erp"), ("day", "2026-01-01"), ("count", "0")];
    let answer = viewer.submit(&format!("{GRID}/send"), &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let unknown = viewer.ask(&format!("{GRID}/erp/2026-02-30")).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        viewer.ask(&format!("{GRID}/nobody/2026-01-01")).await.status,
        StatusCode::NOT_FOUND
    );
    viewer.page(&format!("{GRID}/erp/2026-01-01")).await;
}
