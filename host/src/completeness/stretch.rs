//! Reads the outcomes of the events of a stretch of time, within a bound.

use super::event_outcome::{EndpointOutcome, FoundGap, GapKind};
use super::outcome_reader::{JudgedEvent, OutcomeReader};
use super::reached_records::{EventPosition, ReachedRecords};
use super::tally::OutcomeTally;
use crate::model::id::EventId;
use crate::store::{DayEvent, EventSpan, ModuleCancel, StoreError};
use std::collections::HashSet;
use std::sync::Arc;

/// Most events that one answer looks at.
pub const MOST_EVENTS: u32 = 50_000;
/// Events that are read at once.
const CHUNK: u32 = 1_000;
/// Why an event without a payload cannot be sent.
const PRUNED: &str = "its payload was deleted at the end of its retention period";
/// Why an event cannot be sent to one endpoint of a flow.
const SHARED: &str =
    "its flow leads to other endpoints too: replay the event, which sends it to all of them";

/// A gap of one endpoint.
#[derive(Debug, Clone)]
pub struct EventGap {
    pub event: Arc<DayEvent>,
    pub gap: FoundGap,
    /// Whether the event's payload was deleted.
    pub is_pruned: bool,
}

impl EventGap {
    /// Returns why the gap cannot be sent, if it cannot.
    pub fn hindrance(&self) -> Option<&'static str> {
        if self.is_pruned {
            Some(PRUNED)
        } else if self.gap.kind.has_delivery() || self.gap.missed.can_be_sent() {
            None
        } else {
            Some(SHARED)
        }
    }
}

/// What became of the events of a stretch.
#[derive(Debug, Default)]
pub struct StretchOutcome {
    /// The counts of each target.
    pub tallies: Vec<OutcomeTally>,
    /// The gaps of each target, by the order of their events.
    pub gaps: Vec<Vec<EventGap>>,
    /// The number of events that were looked at.
    pub examined: u32,
    /// The last event that was looked at, if there are more.
    pub rest_after: Option<EventId>,
    /// The records that reached each target.
    pub reached: ReachedRecords,
    /// Called-off deliveries whose records are not looked up yet.
    cancelled: Vec<JudgedEvent>,
}

/// Reads the outcomes of a span, the oldest event first, for all targets of the reader. Looks at
/// `most` events. With a resource, it counts the events of that resource alone.
pub async fn read_stretch(
    reader: &mut OutcomeReader<'_>,
    span: EventSpan,
    resource: Option<&str>,
    most: u32,
) -> Result<StretchOutcome, StoreError> {
    let mut outcome = StretchOutcome {
        tallies: vec![OutcomeTally::default(); reader.targets.len()],
        gaps: vec![Vec::new(); reader.targets.len()],
        ..StretchOutcome::default()
    };
    let mut after = span.after;
    while outcome.examined < most {
        let limit = CHUNK.min(most - outcome.examined);
        let events = reader.journal.list_day_events(EventSpan { after, ..span }, limit).await?;
        let Some(last) = events.last().map(|event| event.id) else { break };
        let found = u32::try_from(events.len()).unwrap_or(limit);
        outcome.examined += found;
        after = last;
        let is_wanted = |event: &DayEvent| {
            resource.is_none_or(|resource| event.resource.as_deref() == Some(resource))
        };
        for judged in reader.read(events.into_iter().filter(is_wanted).collect()).await? {
            outcome.note(judged);
        }
        if found < limit {
            after = span.before;
            break;
        }
    }
    let rest = reader.journal.list_day_events(EventSpan { after, ..span }, 1).await?;
    outcome.rest_after = (!rest.is_empty()).then_some(after);
    outcome.settle_cancelled(reader).await?;
    Ok(outcome)
}

impl StretchOutcome {
    fn note(&mut self, judged: JudgedEvent) {
        match &judged.outcome {
            EndpointOutcome::Delivered | EndpointOutcome::Waiting => {
                self.reached.note(&judged.event, judged.target);
            }
            EndpointOutcome::Gap(FoundGap { kind: GapKind::Cancelled, .. }) => {
                self.cancelled.push(judged);
                return;
            }
            EndpointOutcome::Gap(_)
            | EndpointOutcome::Superseded
            | EndpointOutcome::Dropped(_)
            | EndpointOutcome::Cancelled
            | EndpointOutcome::NotTaken
            | EndpointOutcome::Unknown => {}
        }
        self.count(judged);
    }

    fn count(&mut self, judged: JudgedEvent) {
        if let Some(tally) = self.tallies.get_mut(judged.target) {
            tally.note(&judged);
        }
        if let EndpointOutcome::Gap(gap) = judged.outcome
            && let Some(gaps) = self.gaps.get_mut(judged.target)
        {
            gaps.push(EventGap { event: judged.event, gap, is_pruned: false });
        }
    }

    /// Decides which called-off deliveries are gaps: those whose record has no newer state at the
    /// endpoint, unless the module that planned them can call them off.
    async fn settle_cancelled(&mut self, reader: &OutcomeReader<'_>) -> Result<(), StoreError> {
        let cancelled = std::mem::take(&mut self.cancelled);
        if cancelled.is_empty() {
            return Ok(());
        }
        let places: Vec<EventPosition> =
            cancelled.iter().map(|one| (Arc::clone(&one.event), one.target)).collect();
        let newer = self.reached.find_newer(reader, &places).await?;
        let mut by_module = HashSet::new();
        for chunk in cancelled.chunks(CHUNK as usize) {
            let ids: Vec<EventId> = chunk.iter().map(|one| one.event.id).collect();
            by_module.extend(reader.journal.list_module_cancels(&ids).await?);
        }
        for mut judged in cancelled {
            let endpoint = reader.targets.get(judged.target).map(|target| target.endpoint.id);
            let is_by_module = endpoint.is_some_and(|endpoint_id| {
                by_module.contains(&ModuleCancel { event_id: judged.event.id, endpoint_id })
            });
            if is_by_module || newer.contains(&(judged.event.id, judged.target)) {
                judged.outcome = EndpointOutcome::Cancelled;
            }
            self.count(judged);
        }
        for gaps in &mut self.gaps {
            gaps.sort_by_key(|one| one.event.id);
        }
        Ok(())
    }

    /// Notes which gaps have no payload any more.
    pub async fn note_pruned(&mut self, reader: &OutcomeReader<'_>) -> Result<(), StoreError> {
        for gaps in self.gaps.iter_mut().flat_map(|gaps| gaps.chunks_mut(CHUNK as usize)) {
            let ids: Vec<EventId> = gaps.iter().map(|one| one.event.id).collect();
            let pruned = reader.journal.list_pruned_events(&ids).await?;
            let pruned: HashSet<EventId> = pruned.into_iter().collect();
            for one in gaps {
                one.is_pruned = pruned.contains(&one.event.id);
            }
        }
        Ok(())
    }
}
