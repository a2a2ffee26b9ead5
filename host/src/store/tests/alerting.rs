//! The node with the duty writes the findings of rules, and the notices about them.

use super::*;
use crate::model::alert::{AlertFinding, AlertState, AlertSubject, NOTICE_SOURCE, SubjectKind};
use crate::model::alert_rule::{AlertMetric, AlertSeverity};
use crate::model::id::AlertId;
use crate::model::subject_health::{HealthMemory, KeptHealth};
use crate::store::{AlertChanges, EventFilter, PutAlert};

fn finding(store: &EventStore, state: AlertState) -> AlertFinding {
    AlertFinding {
        metric: AlertMetric::EndpointFailing,
        subject: AlertSubject {
            kind: SubjectKind::Endpoint,
            id: "end_1".to_owned(),
            name: "erp".to_owned(),
        },
        severity: AlertSeverity::Critical,
        state,
        since: store.clock().now(),
        value: 601,
        limit: 600,
        detail: "refused".to_owned(),
        clear_since: None,
        notified: None,
    }
}

fn changes(store: &EventStore, id: AlertId, state: AlertState) -> AlertChanges {
    let unsent = Some("{}".to_owned());
    let put = vec![PutAlert { id, finding: finding(store, state), unsent }];
    let memory =
        HealthMemory { failing_since: Some(store.clock().now()), ..HealthMemory::default() };
    let kept = KeptHealth { kind: SubjectKind::Endpoint, subject: "end_1".to_owned(), memory };
    AlertChanges { at: store.clock().now(), put, health: vec![kept], ..AlertChanges::default() }
}

fn notice() -> EventCapture {
    let event = Event { source: NOTICE_SOURCE.to_owned(), ..event("end_1", "{}") };
    EventCapture { record: None, ..capture(event) }
}

async fn notices(store: &EventStore) -> usize {
    let filter = EventFilter { source: Some(NOTICE_SOURCE.to_owned()), ..EventFilter::default() };
    store.list_events(&filter, None, 50).await.unwrap().rows.len()
}

#[tokio::test]
async fn without_the_duty_nothing_is_written() {
    for TestStore { store, url, .. } in stores().await {
        let id = AlertId::generate();
        let firing = || changes(&store, id, AlertState::Firing);
        let refused = store.record_alerts(vec![notice()], firing()).await.unwrap();
        assert!(refused.is_none(), "{url}");
        assert_eq!((notices(&store).await, store.list_alerts().await.unwrap().len()), (0, 0));
        assert!(store.take_alert_duty().await.unwrap(), "{url}");
        assert!(store.take_alert_duty().await.unwrap(), "it keeps the duty: {url}");
        let taken = store.record_alerts(vec![notice()], firing()).await.unwrap();
        assert_eq!(taken.map(|receipts| receipts.len()), Some(1), "{url}");
        assert_eq!(notices(&store).await, 1, "{url}");
        let stored = store.list_open_alerts().await.unwrap();
        assert_eq!((stored.len(), stored[0].id), (1, id), "{url}");
        assert_eq!(stored[0].finding.state, AlertState::Firing, "{url}");
        assert_eq!(store.list_health().await.unwrap().len(), 1, "{url}");
    }
}

#[tokio::test]
async fn an_alert_that_fires_anew_forgets_what_was_said() {
    for TestStore { store, url, .. } in stores().await {
        assert!(store.take_alert_duty().await.unwrap(), "{url}");
        let (first, second) = (AlertId::generate(), AlertId::generate());
        let record = async |id, state| {
            let recorded = store.record_alerts(Vec::new(), changes(&store, id, state)).await;
            assert!(recorded.unwrap().is_some(), "{url}");
        };
        record(first, AlertState::Firing).await;
        assert!(store.acknowledge_alert(first, "ann").await.unwrap(), "{url}");
        assert!(store.silence_alert(first, Some(store.clock().now())).await.unwrap(), "{url}");
        store.note_alert_sent(first, "{}").await.unwrap();
        let found = store.find_alert(first).await.unwrap().unwrap();
        assert_eq!(found.reaction.acknowledged_by.as_deref(), Some("ann"), "{url}");
        assert_eq!(found.unsent, None, "{url}");
        record(first, AlertState::Resolved).await;
        assert!(
            !store.acknowledge_alert(first, "bob").await.unwrap(),
            "the alert is resolved: {url}"
        );
        assert!(store.list_open_alerts().await.unwrap().is_empty(), "{url}");
        record(second, AlertState::Firing).await;
        let all = store.list_alerts().await.unwrap();
        assert_eq!((all.len(), all[0].id), (1, second), "{url}");
        assert_eq!(all[0].reaction.acknowledged_by, None, "{url}");
        record(second, AlertState::Resolved).await;
        let later = store.clock().now().after(Duration::from_secs(1));
        assert_eq!(store.forget_alerts(later).await.unwrap(), 1, "{url}");
    }
}

#[tokio::test]
async fn the_duty_is_one_nodes_at_a_time_until_it_leaves() {
    let Some(url) = postgres_url().await else { return };
    let (here, there) = (open(&url).await, open(&url).await);
    assert!(here.take_alert_duty().await.unwrap());
    assert!(!there.take_alert_duty().await.unwrap());
    let id = AlertId::generate();
    let refused = there.record_alerts(Vec::new(), changes(&there, id, AlertState::Firing)).await;
    assert!(refused.unwrap().is_none());
    here.leave_process().await.unwrap();
    assert!(there.take_alert_duty().await.unwrap());
}

#[tokio::test]
async fn the_newest_rows_tell_who_sent_and_what_waits() {
    for TestStore { store, url, .. } in stores().await {
        let began = store.clock().now();
        store.capture_events(vec![invoice("1"), invoice("2")]).await.unwrap();
        let senders = store.list_recent_senders(began, 10).await.unwrap();
        assert_eq!(senders.len(), 1, "{url}");
        assert_eq!(senders[0].source, "crm", "{url}");
        assert!(senders[0].first_at <= senders[0].last_at, "{url}");
        assert!(store.list_flow_queues(10).await.unwrap().is_empty(), "{url}");
        assert!(store.list_module_deaths(began, 10).await.unwrap().is_empty(), "{url}");
        assert!(store.list_last_plans(began, 10).await.unwrap().is_empty(), "{url}");
        let none = store.find_first_failure(EndpointId::generate(), began).await.unwrap();
        assert_eq!(none, None, "{url}");
    }
}
