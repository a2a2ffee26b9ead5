//! Alerts on the pages.

use super::Operator;
use crate::alerts::{alert_in_state, at_once, broken};
use hyper::StatusCode;
use waybill_tests::Backend::Sqlite;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::text;
use waybill_tests::{Receiver, World};

#[tokio::test]
async fn the_overview_begins_with_what_fires_and_its_page_acknowledges_it() {
    let Some(world) = World::start_with(Sqlite, at_once).await else { return };
    let receiver = Receiver::start().await;
    broken(&world, &receiver).await;
    let id = text(&alert_in_state(&world, "firing").await, "id");
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let overview = operator.page("/admin").await;
    let list = overview.split_once("aria-label=\"Needs attention\"").unwrap().1;
    let first = list.split("</li>").next().unwrap();
    assert!(first.contains("endpoint_failing") && first.contains("erp"), "{first}");
    let page = operator.page("/admin/alerts").await;
    assert!(page.contains("1 alert is firing"), "{page}");
    assert!(page.contains("mend its receiver"), "{page}");
    let answer = operator.submit(&format!("/admin/alerts/{id}/acknowledge"), &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let page = operator.page("/admin/alerts").await;
    assert!(page.contains("by admin"), "{page}");
    assert!(!page.contains(&format!("{id}/acknowledge")), "there is nothing more to acknowledge");
    let silenced = operator.submit(&format!("/admin/alerts/{id}/silence"), &[]).await;
    assert_eq!(silenced.status, StatusCode::SEE_OTHER, "{}", silenced.text());
    let found = world.get(&format!("/api/v1/alerts/{id}")).await;
    assert!(found["silenced_until"].is_string(), "{found:#}");
}
