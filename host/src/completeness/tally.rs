//! Counts outcomes.

use super::event_outcome::{EndpointOutcome, GapKind};
use super::outcome_reader::JudgedEvent;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most resources and most reasons that are counted apart.
const MOST_NAMES: usize = 50;

/// The counts of one endpoint. All except `deliveries` and `unread_rows` count events, and each
/// event is counted once beside `captured`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OutcomeCounts {
    /// Events that the endpoint takes, or to which it has a delivery.
    pub captured: u64,
    /// Deliveries that were made of them.
    pub deliveries: u64,
    /// Events that a receiver accepted with a 2xx, or what counts as that for the endpoint's kind.
    pub delivered: u64,
    /// Events that will be sent, or whose modules will run.
    pub waiting: u64,
    /// Events whose delivery was replaced by a newer one of the same record.
    pub superseded: u64,
    /// Events that a `where`, a module or a dedupe key kept back.
    pub dropped: u64,
    /// Events whose delivery was called off, while a newer state of the record reached the endpoint
    /// or the module that planned it may have called it off.
    pub cancelled: u64,
    /// Events from before the last change of the endpoint's or the flow's settings, of which
    /// nothing says that they were to be sent.
    pub not_taken: u64,
    /// Events so old that their deliveries may have been deleted.
    pub unknown: u64,
    /// Events that should have reached the endpoint and did not.
    pub gaps: u64,
    /// Rows of sources that could not be read or of which no event could be made. They are gaps
    /// beside `gaps`.
    pub unread_rows: u64,
}

impl OutcomeCounts {
    /// Counts an event.
    pub fn note(&mut self, judged: &JudgedEvent) {
        self.captured += 1;
        self.deliveries += judged.deliveries;
        let count = match judged.outcome {
            EndpointOutcome::Delivered => &mut self.delivered,
            EndpointOutcome::Waiting => &mut self.waiting,
            EndpointOutcome::Superseded => &mut self.superseded,
            EndpointOutcome::Dropped(_) => &mut self.dropped,
            EndpointOutcome::Cancelled => &mut self.cancelled,
            EndpointOutcome::NotTaken => &mut self.not_taken,
            EndpointOutcome::Unknown => &mut self.unknown,
            EndpointOutcome::Gap(_) => &mut self.gaps,
        };
        *count += 1;
    }

    /// Returns the number of all gaps.
    pub const fn all_gaps(&self) -> u64 {
        self.gaps + self.unread_rows
    }

    /// Returns the state that the counts amount to.
    pub const fn state(&self) -> CompletenessState {
        if self.all_gaps() > 0 {
            CompletenessState::Gaps
        } else if self.waiting > 0 {
            CompletenessState::Waiting
        } else if self.unknown > 0 {
            CompletenessState::Unknown
        } else if self.captured == self.not_taken {
            CompletenessState::Quiet
        } else {
            CompletenessState::Complete
        }
    }
}

/// What the counts amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompletenessState {
    /// Every event that was to reach the endpoint did.
    Complete,
    /// There are no gaps, and some events have yet to be sent.
    Waiting,
    /// Something should have reached the endpoint and did not.
    Gaps,
    /// The endpoint took no event.
    Quiet,
    /// There are no gaps among what is still known; deliveries of that time may have been deleted.
    Unknown,
}

/// Returns the reason of a dropped event without the event's own values, which stand in brackets at
/// the end of a condition. So one rule is one reason.
fn name_rule(reason: &str) -> &str {
    let is_condition = reason.contains("where was false: ") && reason.ends_with(')');
    match reason.rsplit_once(" (") {
        Some((rule, _)) if is_condition => rule,
        Some(_) | None => reason,
    }
}

/// Counts by resource, gaps by kind, and reasons of events that a rule kept back.
#[derive(Debug, Clone, Default)]
pub struct OutcomeTally {
    pub counts: OutcomeCounts,
    /// By resource; `None` holds events without one. Resources beyond the bound are not counted
    /// apart.
    pub by_resource: BTreeMap<Option<String>, OutcomeCounts>,
    pub by_kind: BTreeMap<GapKind, u64>,
    /// Number of dropped events by reason. Reasons beyond the bound are not counted apart.
    pub reasons: BTreeMap<String, u64>,
}

impl OutcomeTally {
    /// Counts an event.
    pub fn note(&mut self, judged: &JudgedEvent) {
        self.counts.note(judged);
        let resource = &judged.event.resource;
        if self.by_resource.len() < MOST_NAMES || self.by_resource.contains_key(resource) {
            self.by_resource.entry(resource.clone()).or_default().note(judged);
        }
        match &judged.outcome {
            EndpointOutcome::Dropped(reason) => self.note_reason(name_rule(reason)),
            EndpointOutcome::Gap(gap) => *self.by_kind.entry(gap.kind).or_default() += 1,
            EndpointOutcome::Delivered
            | EndpointOutcome::Waiting
            | EndpointOutcome::Superseded
            | EndpointOutcome::Cancelled
            | EndpointOutcome::NotTaken
            | EndpointOutcome::Unknown => {}
        }
    }

    fn note_reason(&mut self, reason: &str) {
        if let Some(count) = self.reasons.get_mut(reason) {
            *count += 1;
        } else if self.reasons.len() < MOST_NAMES {
            self.reasons.insert(reason.to_owned(), 1);
        }
    }

    /// Counts rows of sources that could not be read.
    pub fn note_unread_rows(&mut self, rows: u64) {
        if rows > 0 {
            self.counts.unread_rows += rows;
            *self.by_kind.entry(GapKind::UnreadRow).or_default() += rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_is_one_reason() {
        let rule = "endpoint `a`: where was false: data.n > 1";
        assert_eq!(name_rule(&format!("{rule} (data.n = 0)")), rule);
        let other = "module `m` dropped it: not for us (test)";
        assert_eq!([name_rule(rule), name_rule(other)], [rule, other]);
    }
}
