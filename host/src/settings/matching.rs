//! Finds the flows and endpoints that match an event, and the part of its plan that is known before
//! any module runs.

use super::{FlowRuntime, SettingsSnapshot};
use crate::expression::event_subject::EventSubject;
use crate::model::delivery::WorkLease;
use crate::model::endpoint::DeliveryMode;
use crate::model::event::Event;
use crate::model::id::{EndpointId, FlowId};
use crate::model::skipped_route::SkippedRoute;
use crate::model::type_pattern::TypePattern;
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::store::{DeliveryDraft, EventStore, NewPlanning};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Duration of the lease for running an event's modules.
pub const PLANNING_HOLD: Duration = Duration::from_mins(2);

/// Reason in the trace of a notice that an endpoint does not receive.
pub const NOTICE_REFUSAL: &str = "a notice about an endpoint does not go to that endpoint";

/// Capacity of the cache of matches. Further kinds of events are matched each time.
const CACHED: usize = 4_096;

/// The flows and endpoints that match events of one source and type.
#[derive(Debug, Default)]
pub struct EventMatches {
    /// Endpoints that receive the event as captured, each once, with the flow that leads to them.
    pub endpoints: Vec<(Option<Arc<FlowRuntime>>, Arc<EndpointRuntime>)>,
    /// Flows whose modules decide.
    pub flows: Vec<Arc<FlowRuntime>>,
    /// Flows and endpoints with a matching event type that are disabled, or whose `where` excludes
    /// the event.
    pub skipped: Vec<SkippedRoute>,
    /// Whether one of them has a `where`. An endpoint may then be listed once for each flow that
    /// leads to it, because one flow may exclude an event that another accepts.
    has_where: bool,
}

/// Describes a disabled endpoint.
fn skip_disabled(flow: Option<&Arc<FlowRuntime>>, target: &EndpointRuntime) -> SkippedRoute {
    let flow = flow.map(|route| route.flow.id);
    let endpoint = &target.endpoint;
    SkippedRoute::disabled_endpoint(flow, endpoint.id, &endpoint.settings.name)
}

impl EventMatches {
    /// Returns the number of matching flows and endpoints.
    pub fn len(&self) -> usize {
        self.endpoints.len() + self.flows.len()
    }

    /// Returns whether one of them is an endpoint whose deliveries callers wait for.
    pub fn has_immediate(&self) -> bool {
        let is_immediate = |target: &Arc<EndpointRuntime>| {
            target.endpoint.settings.mode == DeliveryMode::Immediate
        };
        self.endpoints.iter().any(|(_, target)| is_immediate(target))
            || self.flows.iter().any(|route| route.endpoints.iter().any(is_immediate))
    }

    /// Returns whether nothing matches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Matches by source, then event type.
#[derive(Debug, Default)]
pub struct MatchCache(RwLock<HashMap<String, HashMap<String, Arc<EventMatches>>>>);

impl SettingsSnapshot {
    /// Returns the flows and endpoints that match events of a source and type. Disabled endpoints
    /// do not match.
    pub fn matches(&self, source: &str, event_type: &str) -> Arc<EventMatches> {
        let known = self.matches.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(matches) = known.get(source).and_then(|types| types.get(event_type)) {
            return Arc::clone(matches);
        }
        drop(known);
        let matches = Arc::new(self.find(source, |pattern| pattern.matches(event_type)));
        let mut known = self.matches.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(HashMap::len).sum::<usize>() < CACHED {
            known
                .entry(source.to_owned())
                .or_default()
                .insert(event_type.to_owned(), Arc::clone(&matches));
        }
        matches
    }

    /// Returns the flows and endpoints that name the type itself, not a pattern.
    pub fn matches_by_name(&self, source: &str, event_type: &str) -> Arc<EventMatches> {
        let names = |pattern: &TypePattern| matches!(pattern, TypePattern::Exact(name) if name == event_type);
        Arc::new(self.find(source, names))
    }

    fn find(&self, source: &str, wanted: impl Fn(&TypePattern) -> bool) -> EventMatches {
        let mut matches = EventMatches::default();
        for route in self.flows.iter().filter(|r| r.flow.settings.wants(source, &wanted)) {
            if !route.flow.settings.enabled {
                let flow = &route.flow;
                matches.skipped.push(SkippedRoute::disabled_flow(flow.id, &flow.settings.name));
                continue;
            }
            if !route.modules.is_empty() {
                matches.flows.push(Arc::clone(route));
                continue;
            }
            for target in &route.endpoints {
                if target.endpoint.settings.enabled {
                    matches.endpoints.push((Some(Arc::clone(route)), Arc::clone(target)));
                } else {
                    matches.skipped.push(skip_disabled(Some(route), target));
                }
            }
        }
        for target in self.endpoints() {
            let settings = &target.endpoint.settings;
            if !settings.events.iter().any(&wanted) {
                continue;
            }
            if settings.enabled {
                matches.endpoints.push((None, Arc::clone(target)));
            } else {
                matches.skipped.push(skip_disabled(None, target));
            }
        }
        matches.has_where = matches.flows.iter().any(|route| route.condition.is_some())
            || matches.endpoints.iter().any(|(route, target)| {
                target.condition.is_some()
                    || route.as_ref().is_some_and(|route| route.condition.is_some())
            });
        if !matches.has_where {
            let mut seen: HashSet<EndpointId> = HashSet::new();
            matches.endpoints.retain(|(_, target)| seen.insert(target.endpoint.id));
        }
        matches
    }
}

impl EventMatches {
    /// Returns the matches that accept this event. If nothing has a `where`, this only tests one
    /// flag.
    pub fn admit(self: Arc<Self>, event: &Event) -> Arc<Self> {
        if !self.has_where && !event.is_notice() {
            return self;
        }
        let subject = event.subject();
        let mut admitted = Self { skipped: self.skipped.clone(), ..Self::default() };
        let mut flows: HashMap<FlowId, bool> = HashMap::new();
        let mut seen: HashSet<EndpointId> = HashSet::new();
        for route in &self.flows {
            if admitted.note_flow(route, &subject) {
                admitted.flows.push(Arc::clone(route));
            }
        }
        for (route, target) in &self.endpoints {
            let takes = route.as_ref().is_none_or(|route| {
                let known = flows.entry(route.flow.id);
                *known.or_insert_with(|| admitted.note_flow(route, &subject))
            });
            if !takes || !seen.insert(target.endpoint.id) {
                continue;
            }
            let refusal = if event.is_notice_about(target.endpoint.id) {
                Some(NOTICE_REFUSAL.to_owned())
            } else {
                target.find_refusal(&subject)
            };
            match refusal {
                Some(reason) => {
                    let flow = route.as_ref().map(|route| route.flow.id);
                    let endpoint = Some(target.endpoint.id);
                    let skip = SkippedRoute { flow, endpoint, is_disabled: false, reason };
                    admitted.skipped.push(skip);
                }
                None => admitted.endpoints.push((route.clone(), Arc::clone(target))),
            }
        }
        Arc::new(admitted)
    }

    /// Returns whether a flow accepts an event. Records the reason if it does not.
    fn note_flow(&mut self, route: &FlowRuntime, subject: &EventSubject<'_>) -> bool {
        let reason = route.find_refusal(subject);
        let takes = reason.is_none();
        let skip = |reason| SkippedRoute::excluded_by_flow(route.flow.id, reason);
        self.skipped.extend(reason.map(skip));
        takes
    }

    /// Returns the deliveries that need no module.
    pub fn drafts(&self, journal: &EventStore, event: &Event) -> Vec<DeliveryDraft> {
        let draft = |(route, target): &(Option<Arc<FlowRuntime>>, Arc<EndpointRuntime>)| {
            let flow = route.as_ref().map(|route| route.flow.id);
            target.draft(journal, event, EndpointDispatch { flow, ..EndpointDispatch::default() })
        };
        self.endpoints.iter().map(draft).collect()
    }

    /// Returns the flows whose modules are to run. They are leased if there is room in memory.
    pub fn plannings(&self, journal: &EventStore, event: &Event) -> Vec<NewPlanning> {
        let now = journal.clock().now();
        let planning = |route: &Arc<FlowRuntime>| NewPlanning {
            flow: route.flow.id,
            leased: route.lane.room.take_place(event.size()).map(|slot| {
                (
                    WorkLease {
                        token: journal.next_lease_token(),
                        until: now.after(PLANNING_HOLD),
                    },
                    slot,
                )
            }),
            due_at: now,
            record_key: route.keeps_order().then(|| event.record_key()).flatten(),
        };
        self.flows.iter().map(planning).collect()
    }
}
