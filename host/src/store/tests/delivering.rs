use super::*;
use crate::model::delivery::{Attempt, AttemptOutcome, CollapseKey, DeliveryStatus};
use crate::store::db::SqlQuery;
use crate::store::node_id::first_token;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use crate::store::prefetch::{LeasedDelivery, QueuePermit};
use crate::store::{DeadLetterFilter, DeadSubject, DeliveryFilter, SettledAttempt};

fn permit(store: &EventStore) -> QueuePermit {
    store.prefetch().odd_room().take_claimed().unwrap()
}

fn attempt(store: &EventStore, number: i32) -> Attempt {
    Attempt {
        number,
        at: store.clock().now(),
        duration: Duration::from_millis(3),
        response_status: Some(500),
        error_class: Some("status"),
        error: Some("answered 500".to_owned()),
        request_headers: "{}".to_owned(),
        response_headers: Some("{}".to_owned()),
        response_body: Some("no".into()),
    }
}

pub(super) fn settled(
    store: &EventStore,
    made: &NewDelivery,
    lease: WorkLease,
    outcome: AttemptOutcome,
) -> SettledAttempt {
    SettledAttempt {
        delivery: made.id,
        event: made.event_id,
        event_type: made.event_type.clone(),
        endpoint: made.endpoint_id,
        ordered: false,
        immediate: false,
        round_from: 0,
        held_since: None,
        lease,
        _slot: Some(permit(store)),
        attempt: attempt(store, 1),
        packed: None,
        outcome,
        answers: Vec::new(),
    }
}

pub(super) async fn settle(store: &EventStore, settled: SettledAttempt) {
    store.record_attempt(settled).await.unwrap();
    store.flush_writes().await;
}

pub(super) async fn claim(
    store: &EventStore,
    endpoint: EndpointId,
    ordered: bool,
) -> Vec<LeasedDelivery> {
    let lane = store.prefetch().open_lane(endpoint, 8);
    store.claim_deliveries(&lane, ordered, Duration::from_mins(1)).await.unwrap()
}

async fn status(store: &EventStore, id: DeliveryId) -> DeliveryStatus {
    store.find_delivery(id).await.unwrap().unwrap().status
}

#[tokio::test]
async fn an_attempt_is_recorded_and_the_delivery_settled_under_its_lease() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let lease = lease(&store);
        let made = capture_delivery(&store, endpoint, Some(lease)).await;
        settle(&store, settled(&store, &made, lease, AttemptOutcome::Delivered)).await;
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Delivered, "{url}");
        let attempts = store.list_attempts(made.id).await.unwrap();
        assert_eq!(attempts[0].response_status, Some(500), "{url}");
        assert_eq!(attempts[0].response_body.as_deref(), Some(&b"no"[..]), "{url}");
    }
}

#[tokio::test]
async fn a_worker_whose_lease_was_taken_changes_nothing_but_its_attempt_counts() {
    for TestStore { store, url, .. } in stores().await {
        let own = lease(&store);
        let made = capture_delivery(&store, EndpointId::generate(), Some(own)).await;
        let other = WorkLease { token: own.token + 1, ..own };
        let reason = "retries_exhausted";
        for outcome in [AttemptOutcome::Delivered, AttemptOutcome::Dead { reason }] {
            settle(&store, settled(&store, &made, other, outcome)).await;
        }
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Leased, "{url}");
        assert_eq!(store.list_attempts(made.id).await.unwrap().len(), 1, "{url}");
        let dead = store.count_dead_letters(&DeadLetterFilter::default()).await.unwrap();
        assert_eq!(dead, 0, "{url}");
    }
}

#[tokio::test]
async fn a_dead_delivery_is_a_dead_letter_until_its_replay_succeeds() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let own = lease(&store);
        let made = capture_delivery(&store, endpoint, Some(own)).await;
        let dead = AttemptOutcome::Dead { reason: "gone" };
        settle(&store, settled(&store, &made, own, dead)).await;
        let filter = DeadLetterFilter { endpoint: Some(endpoint), ..DeadLetterFilter::default() };
        let letters = store.list_dead_letters(&filter, None, 10).await.unwrap().rows;
        assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "gone"), "{url}");
        assert!(matches!(letters[0].subject, DeadSubject::Event(_)), "{url}");
        let now = store.clock().now();
        let due = vec![(letters[0].clone(), now)];
        assert_eq!(store.replay_dead_letters(&due).await.unwrap(), 1, "{url}");
        assert_eq!(store.count_dead_letters(&filter).await.unwrap(), 0, "{url}: under way");
        let claimed = claim(&store, endpoint, false).await;
        assert_eq!((claimed.len(), claimed[0].round_from), (1, 1), "{url}");
        let again = SettledAttempt {
            round_from: claimed[0].round_from,
            attempt: attempt(&store, 2),
            ..settled(&store, &made, claimed[0].lease, AttemptOutcome::Delivered)
        };
        settle(&store, again).await;
        assert!(store.find_dead_letter(letters[0].id).await.unwrap().is_none(), "{url}");
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Delivered, "{url}");
    }
}

/// Two requests may list the same dead letters before either replays them.
#[tokio::test]
async fn a_dead_letter_that_was_replayed_or_deleted_since_it_was_listed_is_left_alone() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let mut made = Vec::new();
        for _ in 0..2 {
            let own = lease(&store);
            let one = capture_delivery(&store, endpoint, Some(own)).await;
            let dead = AttemptOutcome::Dead { reason: "gone" };
            settle(&store, settled(&store, &one, own, dead)).await;
            made.push(one);
        }
        let listed = store.list_dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap();
        let now = store.clock().now();
        let due: Vec<_> = listed.rows.into_iter().map(|letter| (letter, now)).collect();
        let deleted = due.iter().find(|(letter, _)| match &letter.subject {
            DeadSubject::Event(dead) => dead.event_id == made[1].event_id,
            DeadSubject::Row(_) => false,
        });
        assert!(store.delete_dead_letter(deleted.unwrap().0.id).await.unwrap(), "{url}");
        assert_eq!(store.replay_dead_letters(&due).await.unwrap(), 1, "{url}");
        assert_eq!(status(&store, made[1].id).await, DeliveryStatus::Dead, "{url}");
        let claimed = claim(&store, endpoint, false).await;
        let again = SettledAttempt {
            round_from: claimed[0].round_from,
            attempt: attempt(&store, 2),
            ..settled(&store, &made[0], claimed[0].lease, AttemptOutcome::Delivered)
        };
        settle(&store, again).await;
        assert_eq!(store.replay_dead_letters(&due).await.unwrap(), 0, "{url}");
        assert_eq!(status(&store, made[0].id).await, DeliveryStatus::Delivered, "{url}");
    }
}

#[tokio::test]
async fn an_answer_becomes_an_event_with_the_delivery_that_it_settles_and_once() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let own = lease(&store);
        let made = capture_delivery(&store, endpoint, Some(own)).await;
        let mut events = Vec::new();
        for is_first in [true, false] {
            // The answer has a delivery of its own, and the second one comes after the lease.
            let answer = EventCapture { record: None, ..invoice("18") };
            let next = delivery(&answer.event, endpoint);
            events.push((answer.event.id, next.id, is_first));
            let deliveries = vec![DeliveryDraft { delivery: next, slot: None }];
            let answer = EventCapture { deliveries, ..answer };
            let delivered = settled(&store, &made, own, AttemptOutcome::Delivered);
            let number = if is_first { 1 } else { 2 };
            let attempt = attempt(&store, number);
            let answers = vec![answer];
            settle(&store, SettledAttempt { attempt, answers, ..delivered }).await;
        }
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Delivered, "{url}");
        for (event, next, is_there) in events {
            assert_eq!(store.find_event(event).await.unwrap().is_some(), is_there, "{url}");
            assert_eq!(store.find_delivery(next).await.unwrap().is_some(), is_there, "{url}");
        }
        assert_eq!(
            store.list_attempts(made.id).await.unwrap().len(),
            2,
            "{url}: both attempts were made"
        );
    }
}

#[tokio::test]
async fn a_claim_leases_what_is_due_once() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let made = capture_delivery(&store, endpoint, None).await;
        let claimed = claim(&store, endpoint, false).await;
        assert_eq!((claimed.len(), claimed[0].id), (1, made.id), "{url}");
        assert_eq!(claimed[0].event.data.get(), WHOLE_INVOICE, "{url}");
        assert!(claim(&store, endpoint, false).await.is_empty(), "{url}");
        let now = store.clock().now();
        store.release_deliveries(&[(made.id, claimed[0].lease)], now).await.unwrap();
        assert_eq!(claim(&store, endpoint, false).await.len(), 1, "{url}");
    }
}

/// Deliveries that were queued in memory behind a refused one are released until the end of the
/// hold.
#[tokio::test]
async fn a_hold_that_is_lifted_makes_all_that_it_held_back_due() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let (own, queued) = (lease(&store), lease(&store));
        let refused = capture_delivery(&store, endpoint, Some(own)).await;
        let behind = capture_delivery(&store, endpoint, Some(queued)).await;
        let now = store.clock().now();
        let end = now.after(Duration::from_hours(5));
        let outcome = AttemptOutcome::HeldBack { at: end, since: now };
        settle(&store, settled(&store, &refused, own, outcome)).await;
        store.hold_deliveries(&[(behind.id, queued)], end).await.unwrap();
        assert!(claim(&store, endpoint, false).await.is_empty(), "{url}");
        store.lift_hold(endpoint).await.unwrap();
        assert_eq!(claim(&store, endpoint, false).await.len(), 2, "{url}");
    }
}

#[tokio::test]
async fn an_ordered_claim_takes_the_first_of_each_record() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let mut made = Vec::new();
        for id in ["17", "17", "18"] {
            let mut captured = invoice(id);
            let order_key = captured.event.record_key();
            let delivery = NewDelivery { order_key, ..delivery(&captured.event, endpoint) };
            made.push(delivery.id);
            captured.deliveries.push(DeliveryDraft { delivery, slot: None });
            store.capture_events(vec![captured]).await.unwrap();
        }
        let claimed = claim(&store, endpoint, true).await;
        let ids: Vec<DeliveryId> = claimed.iter().map(|leased| leased.id).collect();
        assert_eq!(ids, [made[0], made[2]], "{url}");
    }
}

#[tokio::test]
async fn a_smart_delivery_takes_the_place_of_the_one_that_waits() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let latest = store.clock().now().after(Duration::from_hours(1));
        let mut made = Vec::new();
        for _ in 0..3 {
            let mut captured = invoice("17");
            let collapse = Some(CollapseKey { key: "invoice 17".to_owned(), latest });
            let delivery = NewDelivery { collapse, ..delivery(&captured.event, endpoint) };
            made.push(delivery.id);
            captured.deliveries.push(DeliveryDraft { delivery, slot: None });
            store.capture_events(vec![captured]).await.unwrap();
        }
        for id in &made[..2] {
            assert_eq!(status(&store, *id).await, DeliveryStatus::Superseded, "{url}");
        }
        let last = store.find_delivery(made[2]).await.unwrap().unwrap();
        assert_eq!((last.status, last.collapsed), (DeliveryStatus::Pending, 2), "{url}");
    }
}

/// Plans of two events of a record finish in any order.
#[tokio::test]
async fn an_older_event_does_not_take_the_place_of_a_newer_one() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let latest = store.clock().now().after(Duration::from_hours(1));
        let mut captures = [invoice("17"), invoice("17")];
        let mut ids = Vec::new();
        for captured in &mut captures {
            let collapse = Some(CollapseKey { key: "invoice 17".to_owned(), latest });
            let delivery = NewDelivery { collapse, ..delivery(&captured.event, endpoint) };
            ids.push(delivery.id);
            captured.deliveries.push(DeliveryDraft { delivery, slot: None });
        }
        let [older, newer] = captures;
        store.capture_events(vec![newer]).await.unwrap();
        store.capture_events(vec![older]).await.unwrap();
        let found = store.find_delivery(ids[0]).await.unwrap().unwrap();
        assert_eq!((found.status, found.due_at), (DeliveryStatus::Superseded, None), "{url}");
        let waiting = store.find_delivery(ids[1]).await.unwrap().unwrap();
        assert_eq!((waiting.status, waiting.collapsed), (DeliveryStatus::Pending, 1), "{url}");
    }
}

/// A capture that began before the endpoint was deleted is committed after it.
#[tokio::test]
async fn what_is_written_for_a_deleted_endpoint_is_cancelled() {
    for TestStore { store, url, .. } in stores().await {
        let (gone, there) = (EndpointId::generate(), EndpointId::generate());
        let object = StoredObject {
            id: there.uuid(),
            settings: serde_json::json!({}),
            sealed: None,
            created_at: store.clock().now(),
            updated_at: store.clock().now(),
        };
        let put = ObjectChange::put(ObjectKind::Endpoint, "there", &object).unwrap();
        store.change_objects(&[put]).await.unwrap();
        let leased = capture_delivery(&store, gone, Some(lease(&store))).await;
        let waiting = capture_delivery(&store, gone, None).await;
        let kept = capture_delivery(&store, there, None).await;
        assert_eq!(store.cancel_orphans().await.unwrap(), 2, "{url}");
        for cancelled in [leased, waiting] {
            assert_eq!(status(&store, cancelled.id).await, DeliveryStatus::Cancelled, "{url}");
        }
        assert_eq!(status(&store, kept.id).await, DeliveryStatus::Pending, "{url}");
        assert_eq!(store.cancel_orphans().await.unwrap(), 0, "{url}");
    }
}

/// Captures a delivery of a record to an endpoint that collapses.
async fn capture_smart(store: &EventStore, endpoint: EndpointId) -> DeliveryId {
    let mut captured = invoice("17");
    let latest = store.clock().now().after(Duration::from_hours(1));
    let collapse = Some(CollapseKey { key: "invoice 17".to_owned(), latest });
    let delivery = NewDelivery { collapse, ..delivery(&captured.event, endpoint) };
    let id = delivery.id;
    captured.deliveries.push(DeliveryDraft { delivery, slot: None });
    store.capture_events(vec![captured]).await.unwrap();
    id
}

#[tokio::test]
async fn a_smart_delivery_that_is_given_back_and_a_later_one_are_both_sent() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let mut made = Vec::new();
        for _ in 0..2 {
            made.push(capture_smart(&store, endpoint).await);
            let claimed = claim(&store, endpoint, false).await;
            assert_eq!(claimed.last().map(|leased| leased.id), made.last().copied(), "{url}");
            assert_eq!(claimed.last().and_then(|leased| leased.collapsed), Some(0), "{url}");
        }
        made.push(capture_smart(&store, endpoint).await);
        store.leave_process().await.unwrap();
        let claimed = claim(&store, endpoint, false).await;
        assert_eq!(claimed.len(), 3, "{url}");
        assert!(claimed.iter().all(|leased| leased.collapsed == Some(0)), "{url}");
        made.push(capture_smart(&store, endpoint).await);
        let now = store.clock().now();
        let leases: Vec<_> = claimed.iter().map(|leased| (leased.id, leased.lease)).collect();
        store.release_deliveries(&leases, now).await.unwrap();
        assert_eq!(claim(&store, endpoint, false).await.len(), 4, "{url}");
    }
}

#[tokio::test]
async fn a_smart_delivery_that_was_superseded_can_be_replayed_while_another_waits() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let first = capture_smart(&store, endpoint).await;
        let second = capture_smart(&store, endpoint).await;
        assert_eq!(status(&store, first).await, DeliveryStatus::Superseded, "{url}");
        let superseded = store.find_delivery(first).await.unwrap().unwrap();
        assert!(store.replay_delivery(&superseded).await.unwrap(), "{url}");
        for id in [first, second] {
            assert_eq!(status(&store, id).await, DeliveryStatus::Pending, "{url}");
        }
    }
}

/// These events have no record, like those of types that are not in the catalogue, so only the
/// deliveries separate their writers.
#[tokio::test]
async fn smart_deliveries_captured_at_once_in_any_order_leave_one_each() {
    const ROUNDS: usize = 60;
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let capture_both = |keys: [&'static str; 2]| {
            let store = store.clone();
            tokio::spawn(async move {
                let latest = store.clock().now().after(Duration::from_hours(1));
                let captures = keys.map(|key| {
                    let mut captured = invoice(key);
                    captured.record = None;
                    let collapse = Some(CollapseKey { key: key.to_owned(), latest });
                    let delivery = NewDelivery { collapse, ..delivery(&captured.event, endpoint) };
                    captured.deliveries.push(DeliveryDraft { delivery, slot: None });
                    captured
                });
                store.capture_events(captures.into()).await
            })
        };
        let mut captures = Vec::new();
        for _ in 0..ROUNDS {
            captures.push(capture_both(["a", "b"]));
            captures.push(capture_both(["b", "a"]));
            tokio::task::yield_now().await;
        }
        for capture in captures {
            capture.await.unwrap().unwrap();
        }
        let filter =
            DeliveryFilter { status: Some(DeliveryStatus::Pending), ..DeliveryFilter::default() };
        let waiting = store.list_deliveries(&filter, None, 10).await.unwrap().rows;
        assert_eq!(waiting.len(), 2, "{url}");
        let collapsed: u32 = waiting.iter().map(|delivery| delivery.collapsed).sum();
        assert_eq!(collapsed as usize, 4 * ROUNDS - 2, "{url}");
    }
}

#[tokio::test]
async fn a_lost_process_gives_back_what_it_held() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let made = capture_delivery(&store, endpoint, Some(lease(&store))).await;
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Leased, "{url}");
        store.leave_process().await.unwrap();
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Pending, "{url}");
        assert_eq!(claim(&store, endpoint, false).await.len(), 1, "{url}");
    }
}

/// The machine was restarted with its clock an hour behind.
#[tokio::test]
async fn what_a_process_held_by_a_clock_that_was_ahead_is_due_at_once_on_sqlite() {
    const LOST_NODE: i64 = 5;
    let on_sqlite = stores().await.remove(0);
    let (store, endpoint) = (&on_sqlite.store, EndpointId::generate());
    let ahead = store.clock().now().after(Duration::from_hours(1));
    let node = SqlQuery::new("INSERT INTO node (id, seen_at) VALUES ($1, $2)");
    store.pool().execute(node.bind(LOST_NODE).bind(ahead)).await.unwrap();
    let lease = WorkLease { token: first_token(LOST_NODE), until: ahead };
    let made = capture_delivery(store, endpoint, Some(lease)).await;
    store.enter_process().await.unwrap();
    assert_eq!(status(store, made.id).await, DeliveryStatus::Pending);
    assert_eq!(claim(store, endpoint, false).await.len(), 1);
}

#[tokio::test]
async fn what_waits_is_called_off_and_what_is_sent_is_not() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let waiting = capture_delivery(&store, endpoint, None).await;
        let sent = capture_delivery(&store, endpoint, Some(lease(&store))).await;
        assert_eq!(store.cancel_deliveries(&[waiting.id, sent.id]).await.unwrap(), 1, "{url}");
        assert_eq!(status(&store, waiting.id).await, DeliveryStatus::Cancelled, "{url}");
        let filter =
            DeliveryFilter { status: Some(DeliveryStatus::Leased), ..DeliveryFilter::default() };
        let page = store.list_deliveries(&filter, None, 10).await.unwrap();
        assert_eq!(page.rows.len(), 1, "{url}");
    }
}

#[tokio::test]
async fn a_deleted_endpoint_gets_nothing_more() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let made = capture_delivery(&store, endpoint, None).await;
        let delete = ObjectChange::Delete { kind: ObjectKind::Endpoint, id: endpoint.uuid() };
        store.change_objects(&[delete]).await.unwrap();
        assert_eq!(status(&store, made.id).await, DeliveryStatus::Cancelled, "{url}");
    }
}

/// One transaction for all of them would delay every capture.
#[tokio::test]
async fn the_backlog_of_a_deleted_endpoint_is_called_off_in_pieces() {
    const BACKLOG: usize = 6_000;
    const COUNT_OPEN: &str = "SELECT COUNT(*) AS value FROM delivery WHERE due_at IS NOT NULL";
    for TestStore { store, url, .. } in stores().await {
        let count_open =
            async || store.pool().fetch_value::<i64>(SqlQuery::new(COUNT_OPEN)).await.unwrap();
        let endpoint = EndpointId::generate();
        let mut captured = invoice("17");
        let drafts = (0..BACKLOG).map(|_| delivery(&captured.event, endpoint));
        captured.deliveries =
            drafts.map(|delivery| DeliveryDraft { delivery, slot: None }).collect();
        store.capture_events(vec![captured]).await.unwrap();
        let delete = ObjectChange::Delete { kind: ObjectKind::Endpoint, id: endpoint.uuid() };
        store.change_objects(&[delete]).await.unwrap();
        assert_eq!(count_open().await, 1_000, "{url}");
        assert_eq!(store.cancel_orphans().await.unwrap(), 1_000, "{url}");
        assert_eq!(count_open().await, 0, "{url}");
    }
}
