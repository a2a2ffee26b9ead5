//! Claims at an ordered endpoint where nearly every delivery waits for an earlier one.

use super::delivering::{claim, settle, settled};
use super::*;
use crate::model::delivery::AttemptOutcome;
use crate::store::SettledAttempt;
use crate::store::db::SqlQuery;
use crate::store::prefetch::LeasedDelivery;

/// Number of deliveries of one record: several windows of a claim.
const WAITING: usize = 2_000;
const WINDOW: i64 = 512;

/// Captures deliveries of one record, the oldest first.
async fn capture_in_order(store: &EventStore, endpoint: EndpointId) -> Vec<NewDelivery> {
    let mut made = Vec::new();
    let mut captures = Vec::new();
    for _ in 0..WAITING {
        let mut one = invoice("17");
        let order_key = one.event.record_key();
        let delivery = NewDelivery { order_key, ..delivery(&one.event, endpoint) };
        made.push(delivery.clone());
        one.deliveries.push(DeliveryDraft { delivery, slot: None });
        captures.push(one);
    }
    store.capture_events(captures).await.unwrap();
    made
}

async fn end(
    store: &EventStore,
    made: &NewDelivery,
    leased: LeasedDelivery,
    outcome: AttemptOutcome,
) {
    let settled = settled(store, made, leased.lease, outcome);
    settle(store, SettledAttempt { ordered: true, ..settled }).await;
}

/// Counts the deliveries that a claim would examine without a bound.
async fn count_due(store: &EventStore, endpoint: EndpointId) -> i64 {
    let text = "SELECT COUNT(*) AS value FROM delivery WHERE endpoint_id = $1 AND due_at <= $2";
    let query = SqlQuery::new(text).bind(endpoint).bind(store.clock().now());
    store.pool().fetch_value(query).await.unwrap()
}

/// Waits until a delivery is due, because a released one may be due some milliseconds from now.
async fn claim_next(store: &EventStore, endpoint: EndpointId) -> LeasedDelivery {
    let claiming = async {
        loop {
            if let Some(leased) = claim_only(store, endpoint).await {
                return leased;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), claiming).await.unwrap()
}

async fn claim_only(store: &EventStore, endpoint: EndpointId) -> Option<LeasedDelivery> {
    let mut claimed = claim(store, endpoint, true).await;
    assert!(claimed.len() < 2, "one of a record at a time");
    claimed.pop()
}

#[tokio::test]
async fn a_claim_reads_the_same_however_many_wait_behind_one() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let made = capture_in_order(&store, endpoint).await;
        let first = claim_only(&store, endpoint).await.unwrap();
        assert_eq!(first.id, made[0].id, "{url}");
        assert!(count_due(&store, endpoint).await > WINDOW, "{url}: nothing is parked yet");
        let at = store.clock().now().after(Duration::from_mins(5));
        end(&store, &made[0], first, AttemptOutcome::Retry { at }).await;
        for _ in 0..3 {
            assert!(claim_only(&store, endpoint).await.is_none(), "{url}");
            assert!(count_due(&store, endpoint).await < WINDOW, "{url}");
        }
        let next_due = store.find_delivery(made[9].id).await.unwrap().unwrap().due_at;
        assert_eq!(next_due, Some(at), "{url}: it is due when the previous one is");
    }
}

#[tokio::test]
async fn what_is_parked_follows_the_one_before_it_at_once() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        let made = capture_in_order(&store, endpoint).await;
        let mut leased = claim_only(&store, endpoint).await.unwrap();
        assert!(claim_only(&store, endpoint).await.is_none(), "{url}: the claim parks the others");
        assert!(count_due(&store, endpoint).await < WINDOW, "{url}");
        let dead = AttemptOutcome::Dead { reason: "gone" };
        for (n, outcome) in [AttemptOutcome::Delivered, dead].into_iter().enumerate() {
            end(&store, &made[n], leased, outcome).await;
            leased = claim_next(&store, endpoint).await;
            assert_eq!(leased.id, made[n + 1].id, "{url}");
        }
        let at = store.clock().now().after(Duration::from_mins(5));
        end(&store, &made[2], leased, AttemptOutcome::Retry { at }).await;
        assert_eq!(store.cancel_deliveries(&[made[2].id]).await.unwrap(), 1, "{url}");
        assert_eq!(claim_next(&store, endpoint).await.id, made[3].id, "{url}");
    }
}

#[tokio::test]
async fn an_endpoint_that_keeps_order_no_more_sends_what_was_parked() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        capture_in_order(&store, endpoint).await;
        for _ in 0..2 {
            claim(&store, endpoint, true).await;
        }
        assert!(count_due(&store, endpoint).await < WINDOW, "{url}");
        store.unpark_endpoint(endpoint).await.unwrap();
        assert!(count_due(&store, endpoint).await > WINDOW, "{url}");
    }
}
