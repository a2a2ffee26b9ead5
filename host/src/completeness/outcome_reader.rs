//! Reads what became of a few events at endpoints: one query for each kind of row, however many
//! events and endpoints there are.

use super::endpoint_routes::EndpointRoutes;
use super::event_outcome::{EndpointOutcome, FoundGap, GapKind, OutcomeFacts};
use crate::model::alert::NOTICE_SOURCE;
use crate::model::id::{EndpointId, EventId, FlowId};
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::{
    DayEvent, DeliveryGroup, EventSteps, EventStore, PlanDeath, StoreError, WaitingEvent,
};
use crate::time::timestamp::Timestamp;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Most runs of modules whose traces are read for the events of one call.
const MOST_RUNS: u32 = 20_000;
/// Most kinds of events whose routes are remembered. Event types come from outside.
const MOST_KINDS: usize = 10_000;

/// Reads outcomes, by one snapshot of the settings.
#[derive(Debug)]
pub struct OutcomeReader<'r> {
    pub journal: &'r EventStore,
    pub settings: &'r SettingsSnapshot,
    /// Time before which deliveries and traces may have been deleted.
    forgotten_before: Timestamp,
    /// The endpoints whose outcomes are read.
    pub targets: Vec<Arc<EndpointRuntime>>,
    /// The routes to each target, by source and event type.
    routes: HashMap<(String, String), Arc<Vec<Arc<EndpointRoutes>>>>,
}

/// What became of one event at one endpoint.
#[derive(Debug, Clone)]
pub struct JudgedEvent {
    pub event: Arc<DayEvent>,
    /// The place of the endpoint among the targets.
    pub target: usize,
    pub outcome: EndpointOutcome,
    /// Number of deliveries of the event to the endpoint.
    pub deliveries: u64,
}

/// The rows about a few events.
#[derive(Debug, Default)]
struct OutcomeRows {
    deliveries: HashMap<(EventId, EndpointId), Vec<DeliveryGroup>>,
    waiting: HashMap<EventId, Vec<FlowId>>,
    deaths: HashMap<EventId, Vec<PlanDeath>>,
    steps: HashMap<EventId, Vec<EventSteps>>,
}

/// An event that one of the targets takes, or that has a delivery to it.
struct ConcernedEvent {
    event: Arc<DayEvent>,
    routes: Arc<EndpointRoutes>,
    target: Arc<EndpointRuntime>,
    /// The place of the endpoint among the targets.
    place: usize,
}

fn group_rows<K: Eq + Hash, R>(rows: Vec<R>, key: impl Fn(&R) -> K) -> HashMap<K, Vec<R>> {
    let mut grouped: HashMap<K, Vec<R>> = HashMap::new();
    for row in rows {
        grouped.entry(key(&row)).or_default().push(row);
    }
    grouped
}

/// Returns the ids of events without repeats. The events are in their order.
fn distinct_ids<'e>(events: impl Iterator<Item = &'e ConcernedEvent>) -> Vec<EventId> {
    let mut ids: Vec<EventId> = events.map(|one| one.event.id).collect();
    ids.dedup();
    ids
}

impl<'r> OutcomeReader<'r> {
    /// Creates a reader for these endpoints. Deliveries and traces are kept for `kept_for`.
    pub fn new(
        journal: &'r EventStore,
        settings: &'r SettingsSnapshot,
        targets: Vec<Arc<EndpointRuntime>>,
        kept_for: Duration,
    ) -> Self {
        let forgotten_before = journal.clock().now().before(kept_for);
        Self { journal, settings, forgotten_before, targets, routes: HashMap::new() }
    }

    /// Returns the routes of an event to each target.
    fn routes_of(&mut self, event: &DayEvent) -> Arc<Vec<Arc<EndpointRoutes>>> {
        let kind = (event.source.clone(), event.event_type.clone());
        if let Some(known) = self.routes.get(&kind) {
            return Arc::clone(known);
        }
        let find = |target: &Arc<EndpointRuntime>| {
            let (source, event_type) = (&event.source, &event.event_type);
            Arc::new(EndpointRoutes::find(self.settings, target, source, event_type))
        };
        let routes = Arc::new(self.targets.iter().map(find).collect());
        if self.routes.len() < MOST_KINDS {
            self.routes.insert(kind, Arc::clone(&routes));
        }
        routes
    }

    /// Returns the outcomes of events that are in the order of their ids. Events that have nothing
    /// to do with a target are left out.
    pub async fn read(&mut self, events: Vec<DayEvent>) -> Result<Vec<JudgedEvent>, StoreError> {
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let groups = self.journal.list_delivery_groups(&ids).await?;
        let deliveries = group_rows(groups, |group| (group.event_id, group.endpoint_id));
        let mut rows = OutcomeRows { deliveries, ..OutcomeRows::default() };
        let concerned = self.find_concerned(events, &rows);
        self.load_plans(&concerned, &mut rows).await?;
        let mut judged: Vec<JudgedEvent> =
            concerned.iter().map(|one| self.judge(one, &rows)).collect();
        self.ask_conditions(&concerned, &mut judged).await?;
        self.forget_pruned(&mut judged).await?;
        Ok(judged)
    }

    fn find_concerned(&mut self, events: Vec<DayEvent>, rows: &OutcomeRows) -> Vec<ConcernedEvent> {
        let mut concerned = Vec::new();
        for event in events {
            let routes = self.routes_of(&event);
            let event = Arc::new(event);
            for (place, (target, routes)) in self.targets.iter().zip(&*routes).enumerate() {
                let key = (event.id, target.endpoint.id);
                if !routes.is_empty() || rows.deliveries.contains_key(&key) {
                    let (routes, target) = (Arc::clone(routes), Arc::clone(target));
                    concerned.push(ConcernedEvent {
                        event: Arc::clone(&event),
                        routes,
                        target,
                        place,
                    });
                }
            }
        }
        concerned
    }

    /// Reads the plans of events with modules, and the traces of events without a delivery.
    async fn load_plans(
        &self,
        concerned: &[ConcernedEvent],
        rows: &mut OutcomeRows,
    ) -> Result<(), StoreError> {
        let planned =
            distinct_ids(concerned.iter().filter(|one| !one.routes.module_flows.is_empty()));
        if !planned.is_empty() {
            let waiting = self.journal.list_waiting_events(&planned).await?;
            rows.waiting = group_rows(waiting, |one: &WaitingEvent| one.event_id)
                .into_iter()
                .map(|(id, flows)| (id, flows.into_iter().map(|one| one.flow_id).collect()))
                .collect();
            let deaths = self.journal.list_plan_deaths(&planned).await?;
            rows.deaths = group_rows(deaths, |death| death.event_id);
        }
        let is_unsent = |one: &&ConcernedEvent| {
            !rows.deliveries.contains_key(&(one.event.id, one.target.endpoint.id))
        };
        let unsent = distinct_ids(concerned.iter().filter(is_unsent));
        if !unsent.is_empty() {
            let steps = self.journal.list_event_steps(&unsent, MOST_RUNS).await?;
            rows.steps = group_rows(steps, |one| one.event_id);
        }
        Ok(())
    }

    fn judge(&self, one: &ConcernedEvent, rows: &OutcomeRows) -> JudgedEvent {
        let id = one.event.id;
        let deliveries = rows.deliveries.get(&(id, one.target.endpoint.id));
        let deliveries = deliveries.map(Vec::as_slice).unwrap_or_default();
        let facts = OutcomeFacts {
            event: &one.event,
            target: &one.target,
            routes: &one.routes,
            deliveries,
            waiting: rows.waiting.get(&id).map(Vec::as_slice).unwrap_or_default(),
            deaths: rows.deaths.get(&id).map(Vec::as_slice).unwrap_or_default(),
            steps: rows.steps.get(&id).map(Vec::as_slice).unwrap_or_default(),
            is_forgotten: one.event.received_at < self.forgotten_before,
        };
        JudgedEvent {
            event: Arc::clone(&one.event),
            target: one.place,
            outcome: facts.judge(),
            deliveries: deliveries.iter().map(|group| group.deliveries).sum(),
        }
    }

    /// Asks the present conditions about events that were not sent because something was disabled,
    /// or for an unknown reason: nothing asked them when the event was captured.
    async fn ask_conditions(
        &self,
        concerned: &[ConcernedEvent],
        judged: &mut [JudgedEvent],
    ) -> Result<(), StoreError> {
        let mut open: HashMap<EventId, Vec<(&ConcernedEvent, &mut JudgedEvent)>> = HashMap::new();
        for (one, judged) in concerned.iter().zip(judged) {
            let is_notice = one.event.source == NOTICE_SOURCE;
            let has_condition = is_notice || one.routes.has_condition(&one.target);
            if has_condition && judged.outcome.is_unasked_gap() {
                open.entry(one.event.id).or_default().push((one, judged));
            }
        }
        let mut asked: Vec<EventId> = open.keys().copied().collect();
        asked.sort_unstable();
        while !asked.is_empty() {
            let whole = self.journal.list_whole_events(&asked).await?;
            let Some(last) = whole.last().map(|stored| stored.event.id) else { break };
            asked.retain(|id| *id > last);
            for stored in whole.into_iter().filter(|stored| stored.pruned.is_none()) {
                for (one, judged) in open.remove(&stored.event.id).into_iter().flatten() {
                    let (admitted, refusal) = one.routes.admit(&one.target, &stored.event);
                    judged.outcome.narrow(&admitted, refusal);
                }
            }
        }
        Ok(())
    }
}

impl OutcomeReader<'_> {
    /// An event without a payload is so old that its deliveries may have been deleted too: a full
    /// database deletes early.
    async fn forget_pruned(&self, judged: &mut [JudgedEvent]) -> Result<(), StoreError> {
        let is_unplanned = |one: &&mut JudgedEvent| {
            matches!(one.outcome, EndpointOutcome::Gap(FoundGap { kind: GapKind::NotPlanned, .. }))
        };
        let unplanned: Vec<&mut JudgedEvent> = judged.iter_mut().filter(is_unplanned).collect();
        if unplanned.is_empty() {
            return Ok(());
        }
        let ids: Vec<EventId> = unplanned.iter().map(|one| one.event.id).collect();
        let pruned = self.journal.list_pruned_events(&ids).await?;
        let pruned: HashSet<EventId> = pruned.into_iter().collect();
        for one in unplanned.into_iter().filter(|one| pruned.contains(&one.event.id)) {
            one.outcome = EndpointOutcome::Unknown;
        }
        Ok(())
    }
}

impl EndpointOutcome {
    /// Whether it is a gap about which no condition was asked.
    const fn is_unasked_gap(&self) -> bool {
        matches!(self, Self::Gap(FoundGap { kind: GapKind::Disabled | GapKind::NotPlanned, .. }))
    }

    /// Removes the routes that the present conditions exclude. Without a route there is no gap: a
    /// rule keeps the event back.
    fn narrow(&mut self, admitted: &EndpointRoutes, refusal: Option<String>) {
        let Self::Gap(FoundGap { missed, .. }) = self else { return };
        missed.is_direct &= admitted.is_direct();
        missed.flows.retain(|flow| admitted.find_flow(*flow).is_some());
        missed.has_shared_flows &= !admitted.module_flows.is_empty();
        if !missed.can_be_sent() && !missed.has_shared_flows {
            *self = Self::Dropped(refusal.unwrap_or_else(|| "its flow excludes it".to_owned()));
        }
    }
}
