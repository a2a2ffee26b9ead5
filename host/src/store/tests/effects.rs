//! The effects of modules besides deliveries happen once, or not at all.

use super::*;
use crate::model::capability_grants::RecordIndex;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::FlowId;
use crate::model::plan_effects::{PlanEffects, StateAddress, StateCell, StateValue};
use crate::store::tests::planning::{capture_planning, draft, plan};
use crate::store::{PlanReceipt, RecordLookup, RecordedPlan};

fn address(key: &str) -> StateAddress {
    StateAddress { scope: String::new(), key: key.to_owned() }
}

fn value(text: &str) -> StateValue {
    StateValue { text: text.to_owned(), expires_at: None }
}

/// Returns the effects of one module that found `before` under a key and left `now`.
fn turning(key: &str, before: Option<StateValue>, now: Option<StateValue>) -> PlanEffects {
    let state = [(address(key), StateCell { before, now })].into();
    PlanEffects { state, ..PlanEffects::default() }
}

async fn record(
    store: &EventStore,
    flow: FlowId,
    effects: PlanEffects,
    change: impl FnOnce(&mut RecordedPlan),
) -> PlanReceipt {
    let own = lease(store);
    let event = capture_planning(store, flow, own).await;
    let mut planned = RecordedPlan { effects, ..plan(store, &event, flow, own) };
    change(&mut planned);
    store.record_plan(planned).await.unwrap()
}

#[tokio::test]
async fn a_plan_made_from_state_that_changed_is_not_recorded() {
    for TestStore { store, url, .. } in stores().await {
        let flow = FlowId::generate();
        let first = turning("turn", None, Some(value("1")));
        assert!(record(&store, flow, first, |_| ()).await.is_recorded(), "{url}");
        let late = turning("turn", None, Some(value("1")));
        let receipt = record(&store, flow, late, |_| ()).await;
        let PlanReceipt::Outdated(mut again) = receipt else { panic!("{url}: {receipt:?}") };
        assert_eq!(store.list_waiting_plans(again.event.id).await.unwrap().len(), 1, "{url}");
        let read = store.read_state(flow, &address("turn")).await.unwrap();
        assert_eq!(read, Some(value("1")), "{url}");
        again.effects = turning("turn", read, Some(value("2")));
        assert!(store.record_plan(*again).await.unwrap().is_recorded(), "{url}");
        assert_eq!(
            store.read_state(flow, &address("turn")).await.unwrap(),
            Some(value("2")),
            "{url}"
        );
        assert_eq!(store.count_state_keys(flow, 10).await.unwrap(), 1, "{url}");
        let other = FlowId::generate();
        assert_eq!(store.read_state(other, &address("turn")).await.unwrap(), None, "{url}");
        let gone = turning("turn", Some(value("2")), None);
        assert!(record(&store, flow, gone, |_| ()).await.is_recorded(), "{url}");
        assert_eq!(store.read_state(flow, &address("turn")).await.unwrap(), None, "{url}");
    }
}

#[tokio::test]
async fn a_plan_whose_lease_is_lost_changes_no_state() {
    for TestStore { store, url, .. } in stores().await {
        let flow = FlowId::generate();
        let effects = turning("turn", None, Some(value("1")));
        let lost = record(&store, flow, effects, |planned| planned.lease.token += 1).await;
        assert!(matches!(lost, PlanReceipt::LeaseLost), "{url}: {lost:?}");
        assert_eq!(store.read_state(flow, &address("turn")).await.unwrap(), None, "{url}");
    }
}

#[tokio::test]
async fn what_has_expired_is_forgotten() {
    for TestStore { store, url, .. } in stores().await {
        let flow = FlowId::generate();
        let ended = store.clock().now().before(Duration::from_secs(1));
        let short = Some(StateValue { text: "1".to_owned(), expires_at: Some(ended) });
        record(&store, flow, turning("short", None, short), |_| ()).await;
        record(&store, flow, turning("long", None, Some(value("1"))), |_| ()).await;
        assert_eq!(store.forget_state().await.unwrap(), 1, "{url}");
        assert_eq!(store.count_state_keys(flow, 10).await.unwrap(), 1, "{url}");
    }
}

#[tokio::test]
async fn counters_add_up() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, module) = (FlowId::generate(), FlowId::generate().to_string());
        for by in [2, 3] {
            let counts = [((module.clone(), "leads".to_owned()), by)].into();
            let effects = PlanEffects { counts, ..PlanEffects::default() };
            assert!(record(&store, flow, effects, |_| ()).await.is_recorded(), "{url}");
        }
        let counters = store.list_counters(&module).await.unwrap();
        assert_eq!(counters, [("leads".to_owned(), 5)], "{url}");
    }
}

#[tokio::test]
async fn what_waits_under_a_name_is_cancelled() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, endpoint) = (FlowId::generate(), EndpointId::generate());
        let mut waiting = None;
        let named = |planned: &mut RecordedPlan| {
            let mut draft = draft(&planned.event, endpoint, None);
            draft.delivery.cancel_key = Some("reminder".to_owned());
            waiting = Some(draft.delivery.id);
            planned.deliveries.push(draft);
        };
        record(&store, flow, PlanEffects::default(), named).await;
        let waiting = waiting.unwrap();
        let cancel =
            || PlanEffects { cancelled: vec!["reminder".to_owned()], ..PlanEffects::default() };
        record(&store, FlowId::generate(), cancel(), |_| ()).await;
        let status = async |id| store.find_delivery(id).await.unwrap().unwrap().status;
        assert_eq!(status(waiting).await, DeliveryStatus::Pending, "{url}: another flow's name");
        record(&store, flow, cancel(), |_| ()).await;
        assert_eq!(status(waiting).await, DeliveryStatus::Cancelled, "{url}");
    }
}

#[tokio::test]
async fn an_event_that_a_plan_hands_in_is_captured_once() {
    for TestStore { store, url, .. } in stores().await {
        let flow = FlowId::generate();
        let emitted = Arc::new(Event { id: EventId::generate(), ..(*invoice("18").event).clone() });
        for _ in 0..2 {
            let capture = || EventCapture { event: Arc::clone(&emitted), ..invoice("18") };
            let handing = |planned: &mut RecordedPlan| {
                planned.emitted.push(EventCapture { record: None, ..capture() });
            };
            let receipt = record(&store, flow, PlanEffects::default(), handing).await;
            assert!(receipt.is_recorded(), "{url}");
        }
        assert!(store.find_event(emitted.id).await.unwrap().is_some(), "{url}");
    }
}

#[tokio::test]
async fn a_look_up_ends_with_the_record_that_exceeds_its_bytes() {
    for TestStore { store, url, .. } in stores().await {
        let captures = ["17", "18", "19"].map(invoice);
        store.capture_events(captures.into()).await.unwrap();
        let index = RecordIndex { resource: "invoice".to_owned(), field: "number".to_owned() };
        store.keep_indexes(&[index].into()).await.unwrap();
        let lookup = RecordLookup {
            source: "crm".to_owned(),
            resource: "invoice".to_owned(),
            field: Some("number".to_owned()),
            value: "INV-17".to_owned(),
            limit: 100,
        };
        let size = WHOLE_INVOICE.len() + 2;
        for (most_bytes, count) in [(0, 1), (size - 1, 1), (size, 2), (3 * size, 3)] {
            let found = store.look_up_records(&lookup, most_bytes).await.unwrap().unwrap();
            assert_eq!(found.len(), count, "{most_bytes} bytes of {url}");
        }
    }
}
