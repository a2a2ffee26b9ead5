//! Nodes use the database's clock. SQLite has one node and no clock of its own.

use super::*;
use crate::model::delivery::DeliveryStatus;
use crate::store::db::{DatabaseDialect, SqlQuery};

const SET_FORWARD: &str = "CREATE OR REPLACE FUNCTION waybill_now() RETURNS BIGINT LANGUAGE sql \
    VOLATILE AS 'SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) + 12000000'";
const BY: Duration = Duration::from_secs(12);
/// Longer than a query takes, and much shorter than the change of the clock.
const NEARLY: Duration = Duration::from_secs(3);

/// Returns two stores on one PostgreSQL database, if the tests have one.
async fn two_nodes() -> Option<(TestStore, EventStore)> {
    let is_postgres = |one: &TestStore| one.store.pool().dialect() == DatabaseDialect::Postgres;
    let one = stores().await.into_iter().find(is_postgres)?;
    let other = open(&one.url).await;
    Some((one, other))
}

fn is_set_forward(store: &EventStore) -> bool {
    let ahead = store.clock().now().since(store.clock().wall());
    ahead.abs_diff(BY) < NEARLY
}

#[tokio::test]
async fn all_nodes_follow_the_clock_of_the_database() {
    let Some((TestStore { store, url, _folder }, other)) = two_nodes().await else { return };
    assert!(!is_set_forward(&store) && store.clock().skew().abs() < 3_000_000);
    store.pool().execute(SqlQuery::new(SET_FORWARD)).await.unwrap();
    let late = open(&url).await;
    assert!(is_set_forward(&late), "a starting node asks for the time first");
    for store in [&store, &other] {
        store.watch_processes().await.unwrap();
        assert!(is_set_forward(store));
    }
    let (first, second) = (store.clock().now(), other.clock().now());
    assert!(second.since(first) < NEARLY && first.since(second) < NEARLY);
    for (node, _) in late.list_nodes().await.unwrap() {
        let skew = node.skew_us.unwrap();
        assert!((skew + 12_000_000).abs() < 3_000_000, "{skew}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forward_loses_no_node() {
    let Some((TestStore { store, _folder, .. }, other)) = two_nodes().await else { return };
    store.watch_processes().await.unwrap();
    let leased = lease(&other);
    let made = capture_delivery(&other, EndpointId::generate(), Some(leased)).await;
    store.pool().execute(SqlQuery::new(SET_FORWARD)).await.unwrap();
    // The other node has not sent a heartbeat with the new time yet.
    for _ in 0..2 {
        store.watch_processes().await.unwrap();
    }
    assert_eq!(store.list_nodes().await.unwrap().len(), 2);
    let found = store.find_delivery(made.id).await.unwrap().unwrap();
    assert_eq!(found.status, DeliveryStatus::Leased);
}
