//! `/audit`: who called what, from where, and with which result.

use super::AppState;
use super::answer::{ListAnswer, PageRequest, list_page};
use super::auth::CallPrincipal;
use super::body::QueryInput;
use super::events::time;
use super::export::stream_lines;
use super::problem::ApiProblem;
use crate::model::api_call::ApiCall;
use crate::model::id::{RequestId, TokenId};
use crate::settings::SettingsSnapshot;
use crate::store::CallFilter;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::Uri;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// An audited call.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallView {
    /// The request's id, from `X-Request-Id` of its answer.
    pub id: String,
    /// Time of the call.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Id of the token, if it was known. For a short-lived token, the id of its client.
    pub token_id: Option<String>,
    /// Name of the token, if it still exists.
    pub token: Option<String>,
    /// Address of the caller.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The HTTP method.
    pub method: String,
    /// The route, with the names of its parameters.
    pub route: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Duration of the call, in milliseconds.
    pub duration_ms: f64,
    /// Number of calls that the row stands for. Calls without a known token, and calls refused
    /// before they count against a token's rate, share one row for each address and minute; method,
    /// route and status are then those of the last call. Beyond 64 addresses a minute the rest
    /// share the address `0.0.0.0`.
    pub calls: u32,
}

impl CallView {
    fn new(snapshot: &SettingsSnapshot, call: ApiCall) -> Self {
        let token = call.token.and_then(|id| snapshot.token_with_id(id));
        let micros = u32::try_from(call.duration.as_micros()).unwrap_or(u32::MAX);
        Self {
            id: call.id.to_string(),
            at: call.id.created_at(),
            token_id: call.token.map(|id| id.to_string()),
            token: token.map(|(_, token)| token.settings.name.clone()),
            address: call.address,
            method: call.method,
            route: call.route,
            status: call.status,
            duration_ms: f64::from(micros) / 1e3,
            calls: call.calls,
        }
    }
}

/// Selects calls.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallQuery {
    /// Calls of this token, by id or name.
    pub token: Option<String>,
    /// Calls from this address.
    pub address: Option<String>,
    /// Calls with this method.
    pub method: Option<String>,
    /// Calls of this route, such as `/api/v1/events`.
    pub route: Option<String>,
    /// Calls with this status, such as `403`, or of this class, such as `4xx`.
    pub status: Option<String>,
    /// Calls at this time or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Calls before this time: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of calls, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

impl CallQuery {
    fn filter(self, snapshot: &SettingsSnapshot) -> Result<CallFilter, ApiProblem> {
        Ok(CallFilter {
            token: self.token.map(|text| find_token(snapshot, &text)).transpose()?,
            address: self.address.map(|text| read_address(&text)).transpose()?,
            method: self.method.map(|method| method.to_uppercase()),
            route: self.route,
            status: self.status.map(|text| status(&text)).transpose()?,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
        })
    }
}

/// Finds a token by name, or by id, which may belong to a revoked one.
fn find_token(snapshot: &SettingsSnapshot, text: &str) -> Result<TokenId, ApiProblem> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let named = snapshot.tokens().find(|(_, token)| token.settings.name == text);
    named.map(|(_, token)| token.id).ok_or_else(|| {
        ApiProblem::fault(
            "token",
            format!("there is no token `{text}`; one that was revoked is known by its id"),
        )
    })
}

/// Parses an address into the form of the rows: its shortest form, and IPv4 in IPv6 as IPv4.
fn read_address(text: &str) -> Result<String, ApiProblem> {
    let address = text.parse::<IpAddr>().ok();
    address.map(|address| address.to_canonical().to_string()).ok_or_else(|| {
        ApiProblem::fault("address", "an address such as `203.0.113.9` or `2001:db8::7`")
    })
}

fn status(text: &str) -> Result<(u16, u16), ApiProblem> {
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    let range = match class {
        Some(class) => {
            Some((class.saturating_mul(100), class.saturating_mul(100).saturating_add(99)))
        }
        None => text.parse::<u16>().ok().map(|status| (status, status)),
    };
    range
        .filter(|(from, _)| (100..=599).contains(from))
        .ok_or_else(|| ApiProblem::fault("status", "a status such as 403, or a class such as 4xx"))
}

/// Lists calls, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", operation_id = "list_calls", params(CallQuery),
    responses((status = 200, body = ListAnswer<CallView>), (status = 422, body = ApiProblem)))]
pub async fn list_calls(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    uri: Uri,
    QueryInput(query): QueryInput<CallQuery>,
) -> Result<Json<ListAnswer<CallView>>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let pages = PageRequest { cursor: query.cursor.clone(), limit: query.limit.clone() };
    let (limit, after) = (pages.limit()?, pages.after::<RequestId>()?);
    let found = app.journal.list_calls(&query.filter(&snapshot)?, after, limit).await?;
    Ok(list_page(&uri, found, |call| CallView::new(&snapshot, call)))
}

/// Number of calls in one read.
const CHUNK: u32 = 1_000;

/// Exports calls, one JSON object a line, newest first.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "audit", operation_id = "export_calls", params(CallQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = CallView), (status = 422, body = ApiProblem)))]
pub async fn export_calls(
    State(app): State<AppState>,
    principal: CallPrincipal,
    QueryInput(query): QueryInput<CallQuery>,
) -> Result<Response, ApiProblem> {
    let filter = query.filter(&app.live.current_settings())?;
    let context = (app, principal.token().id, filter);
    Ok(stream_lines("audit.ndjson", context, |(app, token, filter), before| async move {
        let _place = app.reading.place(token).await?;
        let found = app.journal.list_calls(&filter, before, CHUNK).await?;
        let snapshot = app.live.current_settings();
        let shown = found.rows.into_iter().map(|call| CallView::new(&snapshot, call)).collect();
        Ok((shown, found.next))
    }))
}
