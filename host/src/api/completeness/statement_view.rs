//! The statement about a day as the API returns it.

use super::day_look::{DayLook, GapPage, StretchCursor};
use super::gap_view::GapView;
use super::{CompletenessState, GapKind, MOST_SENT, Timestamp};
use crate::completeness::tally::OutcomeCounts;
use crate::completeness::unread_rows::ReadSource;
use crate::model::source::SourceKind;
use crate::settings::SettingsSnapshot;
use crate::store::{EventStore, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// What of a day reached an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementView {
    /// Id of the endpoint.
    pub endpoint_id: String,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Whether the endpoint takes events now.
    pub enabled: bool,
    /// The day in UTC.
    #[schema(format = Date)]
    pub day: String,
    /// The kind of resource that was asked for. Null for all.
    pub resource: Option<String>,
    /// Time of the look.
    #[schema(value_type = String, format = DateTime)]
    pub looked_at: Timestamp,
    /// What the counts amount to.
    pub state: CompletenessState,
    /// Whether the counts are of the whole day, and not of a part of it.
    pub whole_day: bool,
    /// Number of events of the day, of all endpoints, that were looked at.
    pub examined: u32,
    /// Names the part of the day that was looked at. Null if it begins with the day.
    pub stretch: Option<String>,
    /// The counts.
    pub counts: OutcomeCounts,
    /// Number of gaps of each kind.
    pub kinds: Vec<KindCount>,
    /// The counts of each kind of resource, up to 50.
    pub resources: Vec<ResourceCounts>,
    /// Why events were dropped, most frequent first, up to 50 reasons.
    pub dropped: Vec<ReasonCount>,
    /// The sources that Waybill reads row by row and whose events the endpoint may take.
    pub sources: Vec<SourceCover>,
    /// Number of gaps that one call of `send` sends, at most 5,000 and the unread rows.
    pub sendable: u64,
    /// Whether more gaps can be sent after those.
    pub more_sendable: bool,
    /// A page of gaps, the oldest event first. On the first page, all unread rows come before them.
    pub gaps: Vec<GapView>,
}

/// Number of gaps of a kind.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct KindCount {
    /// The kind.
    pub kind: GapKind,
    /// The number.
    pub gaps: u64,
}

/// The counts of a kind of resource.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResourceCounts {
    /// The kind of resource. Null for events that are not about one.
    pub resource: Option<String>,
    /// The counts.
    #[serde(flatten)]
    pub counts: OutcomeCounts,
}

/// Number of events that were dropped for a reason.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReasonCount {
    /// The reason, from the trace of one of the events.
    pub reason: String,
    /// The number.
    pub events: u64,
}

/// How far a source has been read.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SourceCover {
    /// Name of the source.
    pub source: String,
    /// Its kind: `database` or `poll`.
    pub kind: SourceKind,
    /// Start of the last complete run: changes of its rows up to then are captured. Null if no run
    /// was complete.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_until: Option<Timestamp>,
    /// Whether that covers the whole day. If not, changes may be missing that no event tells of.
    /// Null until the day is over.
    pub covers_day: Option<bool>,
}

impl SourceCover {
    fn new(look: &DayLook, source: &ReadSource, now: Timestamp) -> Self {
        let end = look.question.day.end();
        let covers = source.read_until.is_some_and(|until| until >= end);
        Self {
            source: source.name.clone(),
            kind: source.kind,
            read_until: source.read_until,
            covers_day: (end <= now).then_some(covers),
        }
    }
}

impl StatementView {
    /// Makes the statement with a page of gaps.
    pub async fn load(
        journal: &EventStore,
        settings: &SettingsSnapshot,
        look: &DayLook,
        page: &GapPage<'_>,
    ) -> Result<Self, StoreError> {
        let now = journal.clock().now();
        let rows = page.rows.iter().map(|row| GapView::of_row(settings, row));
        let mut gaps: Vec<GapView> = rows.collect();
        gaps.extend(GapView::load_events(journal, look, page.gaps).await?);
        let question = &look.question;
        let endpoint = &question.target.endpoint;
        let possible = look.gaps.iter().filter(|one| one.hindrance().is_none()).count();
        let sendable = look.sendable_gaps().len() + look.sendable_rows(settings).len();
        let stretch = StretchCursor { after: None, ..question.cursor };
        Ok(Self {
            endpoint_id: endpoint.id.to_string(),
            endpoint: endpoint.settings.name.clone(),
            enabled: endpoint.settings.enabled,
            day: question.day.to_string(),
            resource: question.resource.clone(),
            looked_at: now,
            state: look.tally.counts.state(),
            whole_day: question.cursor.stretch.is_none() && look.rest_after.is_none(),
            examined: look.examined,
            stretch: Some(stretch.to_string()).filter(|text| !text.is_empty()),
            counts: look.tally.counts,
            kinds: list_kinds(look),
            resources: list_resources(look),
            dropped: list_reasons(look),
            sources: look.sources.iter().map(|one| SourceCover::new(look, one, now)).collect(),
            sendable: sendable as u64,
            more_sendable: possible > MOST_SENT,
            gaps,
        })
    }
}

fn list_kinds(look: &DayLook) -> Vec<KindCount> {
    let count = |kind: GapKind| {
        let gaps = look.tally.by_kind.get(&kind).copied().unwrap_or_default();
        (gaps > 0).then_some(KindCount { kind, gaps })
    };
    GapKind::ALL.into_iter().filter_map(count).collect()
}

fn list_resources(look: &DayLook) -> Vec<ResourceCounts> {
    let view = |(resource, counts): (&Option<String>, &OutcomeCounts)| ResourceCounts {
        resource: resource.clone(),
        counts: *counts,
    };
    look.tally.by_resource.iter().map(view).collect()
}

fn list_reasons(look: &DayLook) -> Vec<ReasonCount> {
    let view =
        |(reason, events): (&String, &u64)| ReasonCount { reason: reason.clone(), events: *events };
    let mut reasons: Vec<ReasonCount> = look.tally.reasons.iter().map(view).collect();
    reasons.sort_by_key(|one| std::cmp::Reverse(one.events));
    reasons
}
