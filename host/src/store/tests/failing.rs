//! Reads the health of endpoints whose deliveries fail.

use super::delivering::{settle, settled};
use super::*;
use crate::health::endpoint_health::{
    EndpointHealth, MOST_DELIVERIES, SPAN, load_endpoint_healths,
};
use crate::model::delivery::AttemptOutcome;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use std::collections::HashMap;

/// Stores an endpoint, and returns its id.
async fn put_endpoint(store: &EventStore) -> EndpointId {
    let id = EndpointId::generate();
    let object = StoredObject {
        id: id.uuid(),
        settings: serde_json::json!({}),
        sealed: None,
        created_at: store.clock().now(),
        updated_at: store.clock().now(),
    };
    let put = ObjectChange::put(ObjectKind::Endpoint, &id.to_string(), &object).unwrap();
    store.change_objects(&[put]).await.unwrap();
    id
}

/// Makes a delivery whose first attempt has this outcome.
async fn attempt_delivery(store: &EventStore, endpoint: EndpointId, outcome: AttemptOutcome) {
    let own = lease(store);
    let made = capture_delivery(store, endpoint, Some(own)).await;
    settle(store, settled(store, &made, own, outcome)).await;
}

fn retry(store: &EventStore) -> AttemptOutcome {
    AttemptOutcome::Retry { at: store.clock().now().after(Duration::from_hours(1)) }
}

async fn load(store: &EventStore) -> HashMap<EndpointId, EndpointHealth> {
    let now = store.clock().now();
    let rows = store.list_recent_deliveries(now.before(SPAN), MOST_DELIVERIES).await.unwrap();
    load_endpoint_healths(store, now, &rows).await.unwrap()
}

#[tokio::test]
async fn every_failing_endpoint_has_its_last_failure() {
    for TestStore { store, url, .. } in stores().await {
        let mut failing = Vec::new();
        for _ in 0..60 {
            let endpoint = put_endpoint(&store).await;
            attempt_delivery(&store, endpoint, retry(&store)).await;
            failing.push(endpoint);
        }
        let well = put_endpoint(&store).await;
        attempt_delivery(&store, well, AttemptOutcome::Delivered).await;
        let healths = load(&store).await;
        for endpoint in failing {
            let failure = healths[&endpoint].standing_failure().unwrap();
            assert_eq!(failure.error.as_deref(), Some("answered 500"), "{url}");
        }
        assert!(healths[&well].standing_failure().is_none(), "{url}");
    }
}
