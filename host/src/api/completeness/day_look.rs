//! One look at a day of an endpoint: the events of a stretch of it, and the unread rows.

use super::{EventGap, MOST_EVENTS, MOST_SENT, UnreadSourceRow, concerns, list_unread_rows};
use super::{OutcomeReader, UtcDay, read_stretch, row_hindrance};
use crate::api::problem::ApiProblem;
use crate::completeness::reached_records::EventPosition;
use crate::completeness::tally::OutcomeTally;
use crate::completeness::unread_rows::{ReadSource, list_read_sources};
use crate::model::id::EventId;
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::{EventSpan, EventStore, StoreError};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A place in the gaps of a day: a stretch of its events, and a gap in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StretchCursor {
    /// The event after which the stretch begins. `None` for the beginning of the day.
    pub stretch: Option<EventId>,
    /// The event of the last gap that was listed.
    pub after: Option<EventId>,
}

impl StretchCursor {
    /// Parses a cursor. `field` is the name of the parameter.
    pub fn parse(field: &str, text: Option<&str>) -> Result<Self, ApiProblem> {
        let Some(text) = text else { return Ok(Self::default()) };
        let (stretch, after) = text.split_once('.').unwrap_or((text, ""));
        let id = |part: &str| {
            let wrong = |_invalid| ApiProblem::fault(field, "is not a cursor of this list");
            (!part.is_empty()).then(|| part.parse().map_err(wrong)).transpose()
        };
        Ok(Self { stretch: id(stretch)?, after: id(after)? })
    }
}

impl fmt::Display for StretchCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stretch) = self.stretch {
            write!(f, "{stretch}")?;
        }
        if let Some(after) = self.after {
            write!(f, ".{after}")?;
        }
        Ok(())
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct DayQuestion {
    pub target: Arc<EndpointRuntime>,
    pub day: UtcDay,
    pub resource: Option<String>,
    pub cursor: StretchCursor,
}

/// What was found.
#[derive(Debug)]
pub struct DayLook {
    pub question: DayQuestion,
    pub tally: OutcomeTally,
    /// The gaps of the stretch, the oldest first.
    pub gaps: Vec<EventGap>,
    /// The unread rows of the day. Only at the beginning of the day and for all resources.
    pub rows: Vec<UnreadSourceRow>,
    /// The sources that Waybill reads for the endpoint.
    pub sources: Vec<ReadSource>,
    pub examined: u32,
    /// The last event of the stretch, if there are more.
    pub rest_after: Option<EventId>,
    /// Gaps whose record has a newer state that reached the endpoint.
    newer: HashSet<EventId>,
}

/// A page of gaps.
#[derive(Debug)]
pub struct GapPage<'l> {
    pub rows: &'l [UnreadSourceRow],
    pub gaps: &'l [EventGap],
    pub next: Option<StretchCursor>,
}

impl DayLook {
    /// Looks at the stretch that the cursor names.
    pub async fn load(
        journal: &EventStore,
        settings: &SettingsSnapshot,
        question: DayQuestion,
        kept_for: Duration,
    ) -> Result<Self, StoreError> {
        let targets = vec![Arc::clone(&question.target)];
        let mut reader = OutcomeReader::new(journal, settings, targets, kept_for);
        let day = question.day.span();
        // A cursor of another day must not lead out of this one.
        let after = question.cursor.stretch.map_or(day.after, |after| after.max(day.after));
        let span = EventSpan { after, ..day };
        let resource = question.resource.as_deref();
        let mut found = read_stretch(&mut reader, span, resource, MOST_EVENTS).await?;
        found.note_pruned(&reader).await?;
        let gaps = found.gaps.pop().unwrap_or_default();
        let places: Vec<EventPosition> =
            gaps.iter().map(|one| (Arc::clone(&one.event), 0)).collect();
        let newer = found.reached.find_newer(&reader, &places).await?;
        let mut tally = found.tallies.pop().unwrap_or_default();
        let mut rows = Vec::new();
        if question.resource.is_none() && question.cursor.stretch.is_none() {
            rows = list_unread_rows(journal, question.day, question.day).await?;
            rows.retain(|row| concerns(settings, &question.target, &row.row));
            tally.note_unread_rows(rows.len() as u64);
        }
        let states = journal.list_source_states().await?;
        Ok(Self {
            sources: list_read_sources(settings, &question.target, &states),
            question,
            tally,
            gaps,
            rows,
            examined: found.examined,
            rest_after: found.rest_after,
            newer: newer.into_iter().map(|(event, _target)| event).collect(),
        })
    }

    /// Returns a page of at most `limit` gaps of events. The first page also has all unread rows.
    pub fn page(&self, limit: usize) -> GapPage<'_> {
        let StretchCursor { stretch, after } = self.question.cursor;
        let skipped = self.gaps.partition_point(|one| after.is_some_and(|at| one.event.id <= at));
        let left = self.gaps.get(skipped..).unwrap_or_default();
        let gaps = left.get(..limit).unwrap_or(left);
        let next = if gaps.len() < left.len() {
            let after = gaps.last().map(|one| one.event.id);
            Some(StretchCursor { stretch, after })
        } else {
            self.rest_after.map(|rest| StretchCursor { stretch: Some(rest), after: None })
        };
        let rows = if after.is_none() { self.rows.as_slice() } else { &[] };
        GapPage { rows, gaps, next }
    }

    /// Whether a newer state of the gap's record reached the endpoint or is on its way.
    pub fn has_newer(&self, gap: &EventGap) -> bool {
        self.newer.contains(&gap.event.id)
    }

    /// Returns the gaps of events that one call sends, the oldest first.
    pub fn sendable_gaps(&self) -> Vec<&EventGap> {
        let sendable = self.gaps.iter().filter(|one| one.hindrance().is_none());
        sendable.take(MOST_SENT).collect()
    }

    /// Returns the unread rows that one call has read again.
    pub fn sendable_rows(&self, settings: &SettingsSnapshot) -> Vec<&UnreadSourceRow> {
        let sendable = self.rows.iter().filter(|row| row_hindrance(settings, &row.row).is_none());
        sendable.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let (one, two) = (EventId::generate(), EventId::generate());
        for (stretch, after) in
            [(None, None), (Some(one), None), (None, Some(two)), (Some(one), Some(two))]
        {
            let cursor = StretchCursor { stretch, after };
            let text = cursor.to_string();
            let text = Some(text.as_str()).filter(|text| !text.is_empty());
            assert_eq!(StretchCursor::parse("cursor", text).unwrap(), cursor);
        }
        for wrong in ["x", "evt_1", ".x", "dlv_0190b5a1-0000-7000-8000-000000000000"] {
            assert!(StretchCursor::parse("cursor", Some(wrong)).is_err(), "{wrong}");
        }
    }
}
