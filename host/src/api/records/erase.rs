//! `DELETE /records/{resource}/{id}`: erases a record from everything that is stored, as data
//! protection law requires (GDPR, article 17).
//!
//! The call is audited like every other, with its caller and time, but without the id.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::super::AppState;
use super::super::answer::{DataAnswer, data_answer};
use super::super::auth::CallPrincipal;
use super::super::body::QueryInput;
use super::super::problem::ApiProblem;
use super::check_one_source;
use crate::catalog;
use crate::model::id::EventId;
use crate::sources;
use crate::store::erase::{ErasedCounts, KeptPlace, RecordName, RecordTraces};
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Number of checks whether deliveries have been sent, and the wait between two checks. An attempt
/// takes about a second.
const LOOKS: u32 = 50;
const WAIT: Duration = Duration::from_millis(100);

/// Options for erasing.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EraseQuery {
    /// Must be `true`: the record is also erased from events, deliveries, attempts, dead letters
    /// and stored rows.
    everywhere: Option<String>,
    /// The source of the record, if several sources have one with this id.
    source: Option<String>,
}

/// The numbers of erased rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasedView {
    /// The resource.
    resource: String,
    /// States of the record, one for each source.
    records: u64,
    /// Events about the record.
    events: u64,
    /// Runs of modules on these events, including waiting ones.
    plans: u64,
    /// Deliveries of these events.
    deliveries: u64,
    /// Messages that modules made for sending.
    messages: u64,
    /// Attempts of these deliveries.
    attempts: u64,
    /// Dead letters of these events.
    dead_letters: u64,
    /// Rows that sources had stored to detect changes.
    kept_rows: u64,
    /// Values about the record in the state of modules.
    state: u64,
    /// Whether the database's log is free of the record too. If not, readers prevented it, and the
    /// next checkpoint overwrites the log. On PostgreSQL this is always `false`, because Waybill
    /// cannot empty the server's own log and backups.
    log_emptied: bool,
}

/// Erases a record everywhere: its state, its events, and everything that was planned, sent and
/// stored because of them.
///
/// Delete it in its own system first: later events about the record are captured like all others.
/// Endpoints that have received it keep it. Repeating the call, also for a record that does not
/// exist, is not an error.
#[utoipa::path(delete, path = "/api/v1/records/{resource}/{id}", tag = "records", operation_id = "erase_record",
    params(("resource" = String, Path, description = "`invoices`, `customers`, …, or the `resource` of its events."),
        ("id" = String, Path), EraseQuery),
    responses((status = 200, body = DataAnswer<ErasedView>),
        (status = 409, body = ApiProblem, description = "Deliveries of it are being sent. Part of it may be erased; repeat the call."),
        (status = 422, body = ApiProblem, description = "Several sources have such a record; select one with `source`.")))]
pub async fn erase_record(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((path, id)): Path<(String, String)>,
    QueryInput(query): QueryInput<EraseQuery>,
) -> Result<Json<DataAnswer<ErasedView>>, ApiProblem> {
    if query.everywhere.as_deref() != Some("true") {
        let message = "must be `true`: a record is erased everywhere, and that cannot be undone";
        return Err(ApiProblem::fault("everywhere", message));
    }
    let resource = catalog::resource_at(&path).map_or_else(|| path.clone(), str::to_owned);
    let source = principal.source(query.source.as_deref())?.map(str::to_owned);
    let name = RecordName { resource, resource_id: id, source };
    if [Some(&name.resource), Some(&name.resource_id), name.source.as_ref()]
        .into_iter()
        .flatten()
        .any(|text| text.contains('\0'))
    {
        return Err(ApiProblem::missing("record", &path));
    }
    let mut traces = app.journal.find_traces(&name).await?;
    let rows = kept_rows(&app, &name, &mut traces).await?;
    let sources = traces.sources.iter().map(String::as_str);
    check_one_source(&name.resource, &name.resource_id, sources)?;
    until_sent(&app, &traces.events).await?;
    let erased = app.journal.erase_record(&name, &traces, &rows).await?.ok_or_else(being_sent)?;
    let log_emptied = app.journal.empty_log().await?;
    Ok(data_answer(view(name.resource, erased, log_emptied)))
}

/// Waits for a few seconds until no delivery of the events is being sent.
async fn until_sent(app: &AppState, events: &[EventId]) -> Result<(), ApiProblem> {
    for _ in 0..LOOKS {
        if app.journal.count_being_sent(events).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(WAIT).await;
    }
    Err(being_sent())
}

fn being_sent() -> ApiProblem {
    ApiProblem::conflict(
        "deliveries of this record are being sent, so only a part of it may be erased; repeat the call when they have ended",
    )
}

/// Returns the places where sources store the record's row. A source that stored a row without
/// emitting an event counts too.
async fn kept_rows(
    app: &AppState,
    name: &RecordName,
    traces: &mut RecordTraces,
) -> Result<Vec<KeptPlace>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let mut kept = Vec::new();
    for runtime in snapshot.source_runtimes() {
        let source = &runtime.source.settings.name;
        if name.source.as_ref().is_some_and(|wanted| wanted != source) {
            continue;
        }
        let mut places = sources::kept_places(&runtime.source, &name.resource, &name.resource_id);
        let lists = app.journal.list_kept_lists(runtime.source.id).await?;
        places.extend(sources::abandoned_places(&runtime.source, &lists, &name.resource_id));
        for place in places {
            if app.journal.keeps_row(&place, &name.resource_id).await? {
                traces.sources.insert(source.clone());
                kept.push(place);
            }
        }
    }
    Ok(kept)
}

fn view(resource: String, erased: ErasedCounts, log_emptied: bool) -> ErasedView {
    let ErasedCounts {
        records,
        events,
        plans,
        deliveries,
        messages,
        attempts,
        dead_letters,
        kept_rows,
        state,
    } = erased;
    ErasedView {
        resource,
        records,
        events,
        plans,
        deliveries,
        messages,
        attempts,
        dead_letters,
        kept_rows,
        state,
        log_emptied,
    }
}
