//! Two nodes divide a limit. SQLite has one node, which has the whole limit.

use super::*;
use crate::model::id::TokenId;
use crate::model::node_description::NodeDescription;
use crate::store::db::DatabaseDialect;
use crate::store::shares::{ShareKind, ShareNeed};

/// Returns two stores on one PostgreSQL database that know of each other, if the tests have one.
async fn two_nodes() -> Option<(TestStore, EventStore)> {
    let is_postgres = |one: &TestStore| one.store.pool().dialect() == DatabaseDialect::Postgres;
    let one = stores().await.into_iter().find(is_postgres)?;
    assert!(!one.store.has_others());
    let other = open(&one.url).await;
    for store in [&one.store, &other] {
        describe(store).await;
    }
    for store in [&one.store, &other] {
        store.watch_processes().await.unwrap();
        assert!(store.has_others());
    }
    Some((one, other))
}

async fn describe(store: &EventStore) {
    let description = NodeDescription {
        address: "127.0.0.1:1".to_owned(),
        version: "0",
        started_at: store.clock().now(),
        key_mark: ShortDigest::of([b"key".as_slice()]),
        next_key_mark: None,
    };
    assert!(store.describe_node(description).await.unwrap().is_none());
}

fn need(endpoint: EndpointId, held: u32, wanted: u32) -> Vec<ShareNeed> {
    let (kind, subject) = (ShareKind::Requests, endpoint.uuid());
    vec![ShareNeed { kind, subject, total: 10, held, wanted }]
}

#[tokio::test]
async fn nodes_never_hold_more_than_there_is() {
    let Some((TestStore { store, _folder, .. }, other)) = two_nodes().await else { return };
    let endpoint = EndpointId::generate();
    let divide = async |store: &EventStore, held, wanted| {
        store.divide_limits(need(endpoint, held, wanted), held == 0).await.unwrap()
    };
    assert_eq!(divide(&other, 0, 10).await, [0], "the first node may use the whole limit");
    // It had the whole limit, and returns what exceeds its half once that is no longer in use.
    assert_eq!(divide(&store, 10, 10).await, [5]);
    assert_eq!(divide(&other, 0, 10).await, [0]);
    assert_eq!(divide(&store, 7, 10).await, [5]);
    assert_eq!(divide(&other, 0, 10).await, [3]);
    assert_eq!(divide(&store, 5, 10).await, [5]);
    assert_eq!(divide(&other, 3, 10).await, [5]);
    // An idle node returns its share.
    assert_eq!(divide(&store, 5, 0).await, [0]);
    assert_eq!(divide(&store, 0, 0).await, [0]);
    assert_eq!(divide(&other, 5, 10).await, [10]);
    assert!(!store.end_sharing().await.unwrap(), "the other node is running");
    other.leave_process().await.unwrap();
    assert!(store.end_sharing().await.unwrap());
}

#[tokio::test]
async fn calls_of_a_minute_are_taken_once() {
    let Some((TestStore { store, _folder, .. }, other)) = two_nodes().await else { return };
    let token = TokenId::generate();
    assert_eq!(store.take_calls(token, 7, 4, 10).await.unwrap(), Some(4));
    assert_eq!(other.take_calls(token, 7, 4, 10).await.unwrap(), Some(8));
    assert_eq!(store.take_calls(token, 7, 4, 10).await.unwrap(), None);
    assert_eq!(store.take_calls(token, 7, 2, 10).await.unwrap(), Some(10));
    assert_eq!(other.take_calls(token, 8, 4, 10).await.unwrap(), Some(4), "another minute");
    assert_eq!(store.take_calls(token, 7, 1, 10).await.unwrap(), None, "in the minute before");
}
