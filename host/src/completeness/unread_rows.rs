//! Rows of sources of which no event could be made. They are gaps before any event.

use super::endpoint_routes::EndpointRoutes;
use super::utc_day::UtcDay;
use crate::model::source::{Source, SourceKind};
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::sources::list_types::list_event_types;
use crate::store::sources::SourceState;
use crate::store::{
    DeadLetterFilter, DeadRow, DeadSubject, EventStore, StoreError, StoredDeadLetter,
};
use crate::time::timestamp::Timestamp;

/// Most rows that one answer looks at, the newest first.
pub const MOST_ROWS: u32 = 1_000;

/// A row of which no event could be made, with its dead letter.
#[derive(Debug, Clone)]
pub struct UnreadSourceRow {
    pub letter: StoredDeadLetter,
    pub row: DeadRow,
}

/// A source that Waybill reads and whose events an endpoint takes.
#[derive(Debug, Clone)]
pub struct ReadSource {
    pub name: String,
    pub kind: SourceKind,
    /// When the last complete run began. Changes of its rows up to then are captured, except those
    /// of unread rows.
    pub read_until: Option<Timestamp>,
}

/// Returns the rows that were set aside on some days and are not being read again.
pub async fn list_unread_rows(
    journal: &EventStore,
    first: UtcDay,
    last: UtcDay,
) -> Result<Vec<UnreadSourceRow>, StoreError> {
    let filter = DeadLetterFilter {
        kind: Some("row"),
        since: Some(first.start()),
        until: Some(last.end()),
        ..DeadLetterFilter::default()
    };
    let found = journal.list_dead_letters(&filter, None, MOST_ROWS).await?;
    let unread = found.rows.into_iter().filter(|letter| letter.replayed_at.is_none());
    let row = |letter: StoredDeadLetter| match &letter.subject {
        DeadSubject::Row(row) => Some(UnreadSourceRow { row: row.clone(), letter }),
        DeadSubject::Event(_) => None,
    };
    Ok(unread.filter_map(row).collect())
}

/// Whether an endpoint takes events that the row may have caused.
pub fn concerns(settings: &SettingsSnapshot, target: &EndpointRuntime, row: &DeadRow) -> bool {
    let source = settings.sources().find(|source| source.id == row.source_id);
    source.is_some_and(|source| {
        let types = list_event_types(source, &row.list);
        types.iter().any(|event_type| {
            let name = &source.settings.name;
            !EndpointRoutes::find(settings, target, name, event_type).is_empty()
        })
    })
}

/// Returns the sources that Waybill reads row by row and whose events the endpoint may take.
pub fn list_read_sources(
    settings: &SettingsSnapshot,
    target: &EndpointRuntime,
    states: &[SourceState],
) -> Vec<ReadSource> {
    let is_read =
        |source: &&Source| matches!(source.settings.kind, SourceKind::Database | SourceKind::Poll);
    let is_taken = |source: &&Source| {
        let flows = settings.flows().iter().filter(|flow| flow.flow.settings.enabled);
        let mut flows = flows.filter(|flow| {
            flow.endpoints.iter().any(|other| other.endpoint.id == target.endpoint.id)
        });
        let name = &source.settings.name;
        !target.endpoint.settings.events.is_empty()
            || flows.any(|flow| flow.flow.settings.wants(name, |_pattern| true))
    };
    let mut found: Vec<ReadSource> = settings
        .sources()
        .filter(is_read)
        .filter(is_taken)
        .map(|source| ReadSource {
            name: source.settings.name.clone(),
            kind: source.settings.kind,
            read_until: states
                .iter()
                .find(|state| state.source == source.id)
                .and_then(|state| state.report.complete_until),
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Returns why a row cannot be read again now, if it cannot.
pub fn row_hindrance(settings: &SettingsSnapshot, row: &DeadRow) -> Option<&'static str> {
    let source = settings.sources().find(|source| source.id == row.source_id);
    match source {
        None => Some("its source was deleted"),
        Some(source) if !source.settings.enabled => Some("its source is paused; resume it first"),
        Some(_) => None,
    }
}
