//! Replays of many dead letters, chosen by a filter, and the end of such replays.

use super::{CHUNK, DeadLetterKind, DeadLetterQuery, check_query};
use crate::api::AppState;
use crate::api::answer::{DataAnswer, data_answer};
use crate::api::auth::CallPrincipal;
use crate::api::body::JsonInput;
use crate::api::problem::ApiProblem;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::DeadLetterId;
use crate::settings::SettingsSnapshot;
use crate::store::DeadLetterFilter;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Selects the dead letters of a replay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The filter; `{}` selects all.
    pub filter: ReplayFilter,
    /// Number of replays a second, so that a receiver that has just recovered is not overloaded.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Only counts them.
    #[serde(default)]
    pub dry_run: bool,
}

/// Selects dead letters.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayFilter {
    /// Dead letters of this endpoint, by id or name.
    pub endpoint: Option<String>,
    /// Dead letters of this source, by id or name.
    pub source: Option<String>,
    /// Dead letters of this kind.
    pub kind: Option<DeadLetterKind>,
    /// Dead letters of this event type.
    pub event_type: Option<String>,
    /// Dead letters with this reason.
    pub reason: Option<String>,
    /// Dead letters from this time or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Dead letters from before this time: RFC 3339, or Unix seconds.
    pub until: Option<String>,
}

impl ReplayFilter {
    /// Returns the same filter as a query of the list.
    pub fn into_query(self) -> DeadLetterQuery {
        DeadLetterQuery {
            endpoint: self.endpoint,
            source: self.source,
            kind: self.kind,
            event_type: self.event_type,
            reason: self.reason,
            since: self.since,
            until: self.until,
            ..DeadLetterQuery::default()
        }
    }
}

/// The result of a replay of many dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayAnswer {
    /// Number of matching dead letters that were not being replayed.
    pub matched: u64,
    /// Number of replays that began.
    pub replayed: u64,
}

/// The slowest replay of many, in dead letters a second: one in about 17 minutes. With much lower
/// rates the time between two exceeds a `Duration`.
const SLOWEST_RATE: f64 = 0.001;
/// The fastest replay of many, in dead letters a second.
const FASTEST_RATE: f64 = 1e6;

/// Replays all dead letters that match a filter, at a rate. The rate survives a restart, because
/// each has its own due time.
#[utoipa::path(post, path = "/api/v1/dead-letters/replay", tag = "dead-letters", operation_id = "replay_dead_letters",
    request_body = ReplayRequest, responses((status = 200, body = DataAnswer<ReplayAnswer>), (status = 422, body = ApiProblem)))]
pub async fn replay_dead_letters(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    JsonInput(request): JsonInput<ReplayRequest>,
) -> Result<Json<DataAnswer<ReplayAnswer>>, ApiProblem> {
    let rate = request.per_second;
    if rate.is_some_and(|rate| !(SLOWEST_RATE..=FASTEST_RATE).contains(&rate)) {
        return Err(ApiProblem::fault("per_second", "at least 0.001, at most 1000000"));
    }
    let snapshot = app.live.current_settings();
    let filter = request.filter.into_query().filter(&snapshot)?;
    let matched = app.journal.count_dead_letters(&filter).await?;
    if request.dry_run {
        return Ok(data_answer(ReplayAnswer { matched, replayed: 0 }));
    }
    let replayed = replay_chunks(&app, &snapshot, &filter, rate).await?;
    Ok(data_answer(ReplayAnswer { matched, replayed }))
}

async fn replay_chunks(
    app: &AppState,
    snapshot: &SettingsSnapshot,
    filter: &DeadLetterFilter,
    rate: Option<f64>,
) -> Result<u64, ApiProblem> {
    let began = app.journal.clock().now();
    let step =
        rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok()).unwrap_or_default();
    let (mut replayed, mut offset): (u64, u32) = (0, 0);
    let mut before: Option<DeadLetterId> = None;
    loop {
        let found = app.journal.list_dead_letters(filter, before, CHUNK).await?;
        let possible = found
            .rows
            .into_iter()
            .filter(|r| r.replayed_at.is_none() && check_query(snapshot, r).is_ok());
        let due: Vec<_> = possible
            .map(|row| {
                let at = began.after(step.saturating_mul(offset));
                offset += 1;
                (row, at)
            })
            .collect();
        replayed += app.journal.replay_dead_letters(&due).await? as u64;
        before = found.next;
        if before.is_none() {
            return Ok(replayed);
        }
    }
}

/// Selects replays to stop.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// The filter; `{}` selects all.
    pub filter: ReplayFilter,
}

/// The result of stopping replays.
#[derive(Debug, Serialize, ToSchema)]
pub struct StopAnswer {
    /// Number of waiting replays that were cancelled. Their dead letters stay.
    pub stopped: u64,
}

/// Stops waiting replays. Deliveries that are being sent, modules that run again and rows that are
/// read again are not stopped.
#[utoipa::path(post, path = "/api/v1/dead-letters/stop-replay", tag = "dead-letters", operation_id = "stop_dead_letter_replays",
    request_body = StopRequest, responses((status = 200, body = DataAnswer<StopAnswer>), (status = 422, body = ApiProblem)))]
pub async fn stop_replays(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    JsonInput(request): JsonInput<StopRequest>,
) -> Result<Json<DataAnswer<StopAnswer>>, ApiProblem> {
    let status = Some(DeliveryStatus::Pending);
    let query = DeadLetterQuery { status, ..request.filter.into_query() };
    let filter = query.filter(&app.live.current_settings())?;
    let mut stopped = 0;
    let mut before: Option<DeadLetterId> = None;
    loop {
        let found = app.journal.list_dead_letters(&filter, before, CHUNK).await?;
        let replayed = found.rows.iter().filter(|row| row.replayed_at.is_some());
        let waiting: Vec<_> = replayed.filter_map(|row| row.subject.delivery()).collect();
        stopped += app.journal.cancel_deliveries(&waiting).await?;
        before = found.next;
        if before.is_none() {
            return Ok(data_answer(StopAnswer { stopped }));
        }
    }
}
