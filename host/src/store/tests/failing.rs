//! Reads the health of endpoints whose deliveries fail.

use super::delivering::{settle, settled};
use super::*;
use crate::health::endpoint_health::{
    EndpointHealth, MOST_DELIVERIES, SPAN, load_endpoint_healths,
};
use crate::model::alert::SubjectKind;
use crate::model::delivery::AttemptOutcome;
use crate::model::subject_health::{HealthMemory, KeptHealth};
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

/// Loads the health of all endpoints. `failing` is stored as failing.
async fn load(
    store: &EventStore,
    failing: Option<EndpointId>,
) -> HashMap<EndpointId, EndpointHealth> {
    let now = store.clock().now();
    let rows = store.list_recent_deliveries(now.before(SPAN), MOST_DELIVERIES).await.unwrap();
    let kept = failing.map(|id| {
        let memory = HealthMemory { failing_since: Some(now), ..HealthMemory::default() };
        KeptHealth { kind: SubjectKind::Endpoint, subject: id.to_string(), memory }
    });
    load_endpoint_healths(store, now, &rows, kept.as_slice()).await.unwrap()
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
        let healths = load(&store, None).await;
        for endpoint in failing {
            let failure = healths[&endpoint].standing_failure().unwrap();
            assert_eq!(failure.error.as_deref(), Some("answered 500"), "{url}");
        }
        assert!(healths[&well].standing_failure().is_none(), "{url}");
    }
}

#[tokio::test]
async fn an_endpoint_whose_last_delivery_died_stays_failing_until_one_arrives() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = put_endpoint(&store).await;
        let dead = AttemptOutcome::Dead { reason: "retries_exhausted" };
        attempt_delivery(&store, endpoint, dead).await;
        let now = store.clock().now();
        let health = &load(&store, Some(endpoint)).await[&endpoint];
        assert_eq!((health.retrying, health.dead), (0, 1), "{url}");
        assert!(health.failing_cause(now).is_some(), "{url}");
        let unknown = &load(&store, None).await[&endpoint];
        assert!(unknown.failing_cause(now).is_none(), "one death alone begins no failure: {url}");
        attempt_delivery(&store, endpoint, AttemptOutcome::Delivered).await;
        let health = &load(&store, Some(endpoint)).await[&endpoint];
        assert!(health.failing_cause(now).is_none(), "{url}");
    }
}
