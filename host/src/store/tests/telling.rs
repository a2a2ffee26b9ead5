//! What a node learns of the attempts that other nodes make.

use super::delivering::{settle, settled};
use super::*;
use crate::model::delivery::{AttemptOutcome, DeliveryStatus};
use crate::store::DeliveryProgress;

/// The only delivery of an event.
async fn progress(store: &EventStore, event: EventId) -> DeliveryProgress {
    let found = store.list_progress_of_event(event).await.unwrap();
    assert_eq!(found.len(), 1);
    found[0]
}

#[tokio::test]
async fn the_progress_of_an_event_is_that_of_the_last_attempts() {
    for TestStore { store, url, .. } in stores().await {
        let lease = lease(&store);
        let made = capture_delivery(&store, EndpointId::generate(), Some(lease)).await;
        let before = progress(&store, made.event_id).await;
        assert_eq!((before.id, before.endpoint_id), (made.id, made.endpoint_id), "{url}");
        assert_eq!((before.status, before.duration), (DeliveryStatus::Leased, None), "{url}");
        settle(&store, settled(&store, &made, lease, AttemptOutcome::Delivered)).await;
        let after = progress(&store, made.event_id).await;
        assert_eq!(after.status, DeliveryStatus::Delivered, "{url}");
        assert_eq!(after.response_status, Some(500), "{url}");
        assert_eq!(after.duration, Some(Duration::from_millis(3)), "{url}");
    }
}
