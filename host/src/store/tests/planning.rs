use super::*;
use crate::model::delivery::DedupeKey;
use crate::model::id::FlowId;
use crate::model::plan_effects::PlanEffects;
use crate::store::prune::PruneCutoffs;
use crate::store::{DeadLetterFilter, ModuleFailed, NewPlanning, RecordedPlan};

/// Captures an event whose flow's modules are to run, under a lease.
pub async fn capture_planning(store: &EventStore, flow: FlowId, lease: WorkLease) -> Arc<Event> {
    capture_planning_of(store, invoice("17"), flow, lease).await
}

/// Captures an event whose flow's modules are to run, without a lease. Returns its id.
pub async fn capture_planning_row(store: &EventStore, flow: FlowId) -> EventId {
    let mut captured = invoice("17");
    let (id, due_at) = (captured.event.id, captured.event.received_at);
    captured.plannings.push(NewPlanning { flow, leased: None, due_at, record_key: None });
    store.capture_events(vec![captured]).await.unwrap();
    id
}

async fn capture_planning_of(
    store: &EventStore,
    mut captured: EventCapture,
    flow: FlowId,
    lease: WorkLease,
) -> Arc<Event> {
    let permit = store.prefetch().odd_room().take_claimed().unwrap();
    captured.plannings.push(NewPlanning {
        flow,
        leased: Some((lease, permit)),
        due_at: captured.event.received_at,
        record_key: None,
    });
    let event = Arc::clone(&captured.event);
    store.capture_events(vec![captured]).await.unwrap();
    event
}

pub fn plan(
    store: &EventStore,
    event: &Arc<Event>,
    flow: FlowId,
    lease: WorkLease,
) -> RecordedPlan {
    RecordedPlan {
        event: Arc::clone(event),
        flow,
        replayed: false,
        lease,
        slot: store.prefetch().odd_room().take_claimed().unwrap(),
        at: store.clock().now(),
        steps: "[]".to_owned(),
        contents: None,
        packed: None,
        deliveries: Vec::new(),
        failed: None,
        effects: PlanEffects::default(),
        emitted: Vec::new(),
        receipts: Vec::new(),
    }
}

pub fn draft(event: &Event, endpoint: EndpointId, key: Option<&str>) -> DeliveryDraft {
    let until = event.received_at.after(Duration::from_hours(1));
    let dedupe = key.map(|key| DedupeKey { key: format!("f {key}"), until });
    DeliveryDraft { delivery: NewDelivery { dedupe, ..delivery(event, endpoint) }, slot: None }
}

#[tokio::test]
async fn a_plan_is_recorded_once_and_ends_its_planning() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, lease) = (FlowId::generate(), lease(&store));
        let event = capture_planning(&store, flow, lease).await;
        assert_eq!(store.list_waiting_plans(event.id).await.unwrap().len(), 1, "{url}");
        let mut planned = plan(&store, &event, flow, lease);
        planned.deliveries.push(draft(&event, EndpointId::generate(), None));
        assert!(store.record_plan(planned).await.unwrap().is_recorded(), "{url}");
        assert!(
            !store.record_plan(plan(&store, &event, flow, lease)).await.unwrap().is_recorded(),
            "{url}"
        );
        assert!(store.list_waiting_plans(event.id).await.unwrap().is_empty(), "{url}");
        assert_eq!(store.list_deliveries_of_event(event.id).await.unwrap().len(), 1, "{url}");
        let runs = store.list_plan_runs(event.id).await.unwrap();
        assert_eq!((runs.len(), runs[0].flow_id), (1, Some(flow)), "{url}");
    }
}

#[tokio::test]
async fn a_plan_without_its_lease_writes_nothing() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, lease) = (FlowId::generate(), lease(&store));
        let event = capture_planning(&store, flow, lease).await;
        let other = WorkLease { token: lease.token + 1, ..lease };
        let mut planned = plan(&store, &event, flow, other);
        planned.deliveries.push(draft(&event, EndpointId::generate(), None));
        assert!(!store.record_plan(planned).await.unwrap().is_recorded(), "{url}");
        assert!(store.list_deliveries_of_event(event.id).await.unwrap().is_empty(), "{url}");
        assert_eq!(store.list_waiting_plans(event.id).await.unwrap().len(), 1, "{url}");
    }
}

#[tokio::test]
async fn modules_that_fail_for_good_leave_a_dead_letter_that_a_replay_ends() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, own) = (FlowId::generate(), lease(&store));
        let event = capture_planning(&store, flow, own).await;
        let detail = "it trapped".to_owned();
        let failed = Some(ModuleFailed::Dead { reason: "module_trap", detail });
        let planned = RecordedPlan { failed, ..plan(&store, &event, flow, own) };
        assert!(store.record_plan(planned).await.unwrap().is_recorded(), "{url}");
        let all = DeadLetterFilter::default();
        let letters = store.list_dead_letters(&all, None, 10).await.unwrap().rows;
        assert_eq!(letters[0].reason, "module_trap", "{url}");
        let now = store.clock().now();
        assert_eq!(
            store.replay_dead_letters(&[(letters[0].clone(), now)]).await.unwrap(),
            1,
            "{url}"
        );
        let lane = store.prefetch().open_flow_lane(flow);
        let claimed = store.claim_plannings(&lane, Duration::from_mins(1)).await.unwrap();
        assert_eq!((claimed.len(), claimed[0].event.id), (1, event.id), "{url}");
        let again = RecordedPlan { replayed: true, ..plan(&store, &event, flow, claimed[0].lease) };
        assert!(store.record_plan(again).await.unwrap().is_recorded(), "{url}");
        assert!(store.list_dead_letters(&all, None, 10).await.unwrap().rows.is_empty(), "{url}");
    }
}

#[tokio::test]
async fn modules_that_are_to_run_again_wait_until_then() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, lease) = (FlowId::generate(), lease(&store));
        let event = capture_planning(&store, flow, lease).await;
        let later = store.clock().now().after(Duration::from_hours(1));
        let failed = Some(ModuleFailed::Retry(later));
        let planned = RecordedPlan { failed, ..plan(&store, &event, flow, lease) };
        assert!(store.record_plan(planned).await.unwrap().is_recorded(), "{url}");
        let waiting = store.list_waiting_plans(event.id).await.unwrap();
        assert_eq!((waiting[0].due_at, waiting[0].attempts), (later, 1), "{url}");
        assert!(!waiting[0].running, "{url}");
    }
}

#[tokio::test]
async fn of_deliveries_with_one_dedupe_key_one_is_made() {
    for TestStore { store, url, .. } in stores().await {
        let endpoint = EndpointId::generate();
        for made in [1, 0] {
            let (flow, lease) = (FlowId::generate(), lease(&store));
            let event = capture_planning(&store, flow, lease).await;
            let mut planned = plan(&store, &event, flow, lease);
            planned.deliveries.push(draft(&event, endpoint, Some("k")));
            assert!(store.record_plan(planned).await.unwrap().is_recorded(), "{url}");
            let found = store.list_deliveries_of_event(event.id).await.unwrap();
            assert_eq!(found.len(), made, "{url}");
            let steps = store.list_plan_runs(event.id).await.unwrap()[0].steps.get().to_owned();
            assert_eq!(steps.contains("suppressed"), made == 0, "{url}: {steps}");
        }
    }
}

#[tokio::test]
async fn contents_of_a_plan_go_with_the_payload_and_its_steps_stay() {
    for TestStore { store, url, .. } in stores().await {
        let (flow, lease) = (FlowId::generate(), lease(&store));
        let captured = EventCapture { record: None, ..invoice("17") };
        let event = capture_planning_of(&store, captured, flow, lease).await;
        let contents = Some(r#"[{"step":0,"drafts":[{"data":1.50}]}]"#.to_owned());
        let planned = RecordedPlan { contents, ..plan(&store, &event, flow, lease) };
        assert!(store.record_plan(planned).await.unwrap().is_recorded(), "{url}");
        let kept = async || {
            let runs = store.list_plan_runs(event.id).await.unwrap();
            (runs.len(), runs[0].contents.as_ref().map(|text| text.get().contains("1.50")))
        };
        assert_eq!(kept().await, (1, Some(true)), "{url}");
        let never = Timestamp::from_micros(0);
        let before = PruneCutoffs {
            payloads: store.clock().now().after(Duration::from_secs(1)),
            plans: never,
            attempts: never,
            deliveries: never,
            events: never,
            dead_letters: never,
            deleted_records: never,
            records: None,
        };
        assert_eq!(store.prune_expired(&before, None).await.unwrap().payloads, 1, "{url}");
        assert_eq!(kept().await, (1, None), "{url}");
    }
}
