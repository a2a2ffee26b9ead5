//! Decides what became of one event at one endpoint, from the rows that were read about both.

use super::endpoint_routes::{EndpointRoutes, leads_only_to};
use super::trace_reading::{TraceReading, read_trace};
use crate::model::delivery::DeliveryStatus;
use crate::model::id::FlowId;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::{DayEvent, DeliveryGroup, EventSteps, PlanDeath};
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Time after a change of settings within which another node may still have used the old ones.
const SPREADING: Duration = Duration::from_secs(10);

/// What became of an event at an endpoint.
#[derive(Debug, Clone)]
pub enum EndpointOutcome {
    /// A receiver accepted it.
    Delivered,
    /// It will be sent, or its modules will run.
    Waiting,
    /// A newer delivery of its record took its place.
    Superseded,
    /// A rule kept it back: a `where`, a module, or a dedupe key. Holds the reason.
    Dropped(String),
    /// Its delivery was called off, and a newer state of its record reached the endpoint, or the
    /// module that planned it may have called it off.
    Cancelled,
    /// It was captured before the routes had their present settings, and nothing says that it was
    /// to be sent.
    NotTaken,
    /// It is so old that its deliveries may have been deleted.
    Unknown,
    /// It should have reached the endpoint and did not.
    Gap(FoundGap),
}

/// Why an event did not reach an endpoint.
#[derive(Debug, Clone)]
pub struct FoundGap {
    pub kind: GapKind,
    /// The reason in words. Empty for a dead delivery, whose dead letter has it.
    pub reason: String,
    /// Time at which it was decided.
    pub since: Timestamp,
    /// The routes on which it would have come, if there is no delivery.
    pub missed: MissedRoutes,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// A delivery failed for good.
    Dead,
    /// A delivery was called off, and no newer state of its record reached the endpoint.
    Cancelled,
    /// The endpoint or the flow was disabled when the event was captured or planned.
    Disabled,
    /// The modules of a flow failed for good.
    ModulesFailed,
    /// No delivery was made, and nothing says why.
    NotPlanned,
    /// A row of a source could not be read, or no event could be made of it.
    UnreadRow,
}

impl GapKind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Dead,
        Self::Cancelled,
        Self::Disabled,
        Self::ModulesFailed,
        Self::NotPlanned,
        Self::UnreadRow,
    ];

    /// Returns the word for the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Disabled => "disabled",
            Self::ModulesFailed => "modules_failed",
            Self::NotPlanned => "not_planned",
            Self::UnreadRow => "unread_row",
        }
    }

    /// Whether there is a delivery that can be sent again.
    pub const fn has_delivery(self) -> bool {
        matches!(self, Self::Dead | Self::Cancelled)
    }
}

/// The routes on which an event would have come to an endpoint.
#[derive(Debug, Clone, Default)]
pub struct MissedRoutes {
    /// Whether a delivery of the event as captured is missing.
    pub is_direct: bool,
    /// Flows whose modules can run again without sending the event to other endpoints that have
    /// it.
    pub flows: Vec<FlowId>,
    /// Whether there are other flows, which cannot run again for one endpoint.
    pub has_shared_flows: bool,
}

impl MissedRoutes {
    /// Whether the event can be sent to the endpoint alone.
    pub fn can_be_sent(&self) -> bool {
        self.is_direct || !self.flows.is_empty()
    }
}

/// What is known about one event and one endpoint.
#[derive(Debug)]
pub struct OutcomeFacts<'f> {
    pub event: &'f DayEvent,
    pub target: &'f EndpointRuntime,
    pub routes: &'f EndpointRoutes,
    /// The deliveries of the event to the endpoint.
    pub deliveries: &'f [DeliveryGroup],
    /// The flows that have not planned the event yet.
    pub waiting: &'f [FlowId],
    pub deaths: &'f [PlanDeath],
    /// The trace, the newest run of each flow first.
    pub steps: &'f [EventSteps],
    /// Whether deliveries and traces of that time may have been deleted.
    pub is_forgotten: bool,
}

impl OutcomeFacts<'_> {
    /// Returns what became of the event. Each event has one outcome: the worst that was found,
    /// except that what still waits is not a gap.
    pub fn judge(&self) -> EndpointOutcome {
        let is_planned_later =
            self.waiting.iter().any(|flow| self.routes.find_flow(*flow).is_some());
        let death = self.deaths.iter().find(|one| self.routes.find_flow(one.flow_id).is_some());
        if let Some(dead) = self.find_group(DeliveryStatus::Dead) {
            return self.gap(GapKind::Dead, String::new(), dead.settled_at);
        }
        if is_planned_later || death.is_some_and(|death| death.is_replayed) || self.is_waiting() {
            return EndpointOutcome::Waiting;
        }
        if let Some(death) = death {
            let missed = self.missed([(death.flow_id, true)]);
            let reason = death.detail.clone();
            let since = death.created_at;
            return EndpointOutcome::Gap(FoundGap {
                kind: GapKind::ModulesFailed,
                reason,
                since,
                missed,
            });
        }
        if self.find_group(DeliveryStatus::Delivered).is_some() {
            return EndpointOutcome::Delivered;
        }
        if let Some(cancelled) = self.find_group(DeliveryStatus::Cancelled) {
            let reason = "its delivery was called off".to_owned();
            return self.gap(GapKind::Cancelled, reason, cancelled.settled_at);
        }
        if !self.deliveries.is_empty() {
            return EndpointOutcome::Superseded;
        }
        self.judge_trace()
    }

    fn find_group(&self, status: DeliveryStatus) -> Option<&DeliveryGroup> {
        self.deliveries.iter().find(|group| group.status == status)
    }

    fn is_waiting(&self) -> bool {
        let waits = [DeliveryStatus::Pending, DeliveryStatus::Leased];
        waits.into_iter().any(|status| self.find_group(status).is_some())
    }

    /// Returns what became of an event without a delivery.
    fn judge_trace(&self) -> EndpointOutcome {
        match read_trace(self.steps, self.target.endpoint.id, self.routes) {
            Some(TraceReading::Dropped(reason)) => EndpointOutcome::Dropped(reason),
            Some(TraceReading::Disabled { reason, is_direct, flows }) => {
                let missed = MissedRoutes { is_direct, ..self.missed(flows) };
                let since = self.event.received_at;
                EndpointOutcome::Gap(FoundGap { kind: GapKind::Disabled, reason, since, missed })
            }
            Some(TraceReading::Failed { reason, flow }) => {
                let missed = self.missed([(flow, true)]);
                let since = self.event.received_at;
                EndpointOutcome::Gap(FoundGap {
                    kind: GapKind::ModulesFailed,
                    reason,
                    since,
                    missed,
                })
            }
            None if self.is_forgotten => EndpointOutcome::Unknown,
            None if !self.was_taken() => EndpointOutcome::NotTaken,
            None => {
                let reason = "no delivery was made, and its trace does not say why".to_owned();
                self.gap(GapKind::NotPlanned, reason, None)
            }
        }
    }

    /// Whether one of the routes had its present settings when the event was captured.
    fn was_taken(&self) -> bool {
        let since = self.routes.set_since(self.target);
        since.is_some_and(|since| since.after(SPREADING) <= self.event.received_at)
    }

    fn gap(&self, kind: GapKind, reason: String, since: Option<Timestamp>) -> EndpointOutcome {
        let flows = self.routes.module_flows.iter().map(|flow| (flow.flow.id, false));
        let missed = MissedRoutes { is_direct: self.routes.is_direct(), ..self.missed(flows) };
        let since = since.unwrap_or(self.event.received_at);
        EndpointOutcome::Gap(FoundGap { kind, reason, since, missed })
    }

    /// Divides flows with modules into those that can run again and the others. A flow can run
    /// again if none of its endpoints got the event, or if it leads to this endpoint alone.
    fn missed(&self, flows: impl IntoIterator<Item = (FlowId, bool)>) -> MissedRoutes {
        let mut missed = MissedRoutes::default();
        for (id, reached_nobody) in flows {
            let Some(flow) = self.routes.find_flow(id) else { continue };
            if reached_nobody || leads_only_to(flow, self.target) {
                missed.flows.push(id);
            } else {
                missed.has_shared_flows = true;
            }
        }
        missed
    }
}
