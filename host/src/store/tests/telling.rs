//! A node learns of the attempts that other nodes make.

use super::delivering::{settle, settled};
use super::*;
use crate::model::delivery::{AttemptOutcome, DeliveryStatus};
use crate::store::objects::{ObjectChange, ObjectKind};
use crate::store::watch::EventNotice;
use crate::store::{DeliveryProgress, SettledAttempt};

/// Returns the progress of the only delivery of an event.
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

#[tokio::test]
async fn a_node_is_told_that_another_one_changed_the_settings() {
    let Some(url) = postgres_url().await else { return };
    let (here, there) = (open(&url).await, open(&url).await);
    let following = here.clone();
    let following = tokio::spawn(async move { following.follow_nodes().await });
    // Any change before it began to listen counts as news.
    here.wait_for_changes().await;
    let id = EndpointId::generate().uuid();
    there.change_objects(&[ObjectChange::Delete { kind: ObjectKind::Flow, id }]).await.unwrap();
    here.wait_for_changes().await;
    following.abort();
    assert!(following.await.is_err());
}

#[tokio::test]
async fn a_node_is_told_of_the_first_attempt_that_another_one_makes() {
    let Some(url) = postgres_url().await else { return };
    let (here, there) = (open(&url).await, open(&url).await);
    let own = lease(&there);
    let made = capture_delivery(&here, EndpointId::generate(), Some(own)).await;
    let mut watch = here.watchers().watch_event(made.event_id);
    let following = here.clone();
    let following = tokio::spawn(async move { following.follow_nodes().await });
    let listens = watch.notices.recv().await;
    assert!(matches!(listens, Some(EventNotice::Interrupted)), "{listens:?}");
    // No request waits for the first of these. The second one is announced.
    let retry = AttemptOutcome::Retry { at: there.clock().now() };
    settle(&there, settled(&there, &made, own, retry)).await;
    let delivered = settled(&there, &made, own, AttemptOutcome::Delivered);
    settle(&there, SettledAttempt { immediate: true, ..delivered }).await;
    let told = watch.notices.recv().await;
    let Some(EventNotice::Attempted { delivery, status, response_status, duration }) = told else {
        panic!("{told:?}");
    };
    assert_eq!((delivery, status), (made.id, DeliveryStatus::Delivered));
    assert_eq!((response_status, duration), (Some(500), Duration::from_millis(3)));
    following.abort();
    assert!(following.await.is_err());
}
