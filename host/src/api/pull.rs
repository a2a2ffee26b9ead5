//! `/pull/{endpoint}`: consumers fetch the deliveries of an endpoint of kind `pull`, and commit
//! them.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::AppState;
use super::answer::{DataAnswer, data_answer};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::endpoints::{LOCKED, find_endpoint};
use super::problem::{ApiProblem, method_not_allowed};
use crate::delivery::offers::{OfferTerms, OfferedMessage, commit_offer, offer_deliveries};
use crate::model::delivery::WorkLease;
use crate::model::id::DeliveryId;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, Uri};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Default and highest number of deliveries on a page.
const USUAL: usize = 100;
const MOST: usize = 200;
/// Default, shortest and longest time that a consumer may hold a page.
const HOLD: Duration = Duration::from_mins(1);
const HOLDS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Selects a page of deliveries to fetch.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PullQuery {
    /// Number of deliveries, 1 to 200. Default: 100.
    pub limit: Option<String>,
    /// How long the page is leased to the caller, `1s` to `1h`. Default: `60s`. Deliveries that are
    /// not committed by then have failed, and are offered again.
    #[param(value_type = Option<String>, example = "60s")]
    pub lease: Option<String>,
}

impl PullQuery {
    fn terms(&self) -> Result<OfferTerms, ApiProblem> {
        let most = match self.limit.as_deref().map(str::parse) {
            None => USUAL,
            Some(Ok(limit @ 1..=MOST)) => limit,
            Some(_) => {
                return Err(ApiProblem::fault("limit", format!("a number from 1 to {MOST}")));
            }
        };
        let lease = self.lease.as_deref().map(str::parse::<TimeSpan>).transpose();
        let hold = lease.map_err(|why| ApiProblem::fault("lease", why.to_string()))?;
        let hold = hold.map_or(HOLD, TimeSpan::get);
        if !HOLDS.contains(&hold) {
            return Err(ApiProblem::fault("lease", "from 1s to 1h"));
        }
        Ok(OfferTerms { most, hold })
    }
}

/// A delivery that is fetched.
#[derive(Debug, Serialize, ToSchema)]
pub struct PulledDelivery {
    /// Id of the delivery, which is also the header `webhook-id`.
    pub id: String,
    /// The headers that a webhook would have, with its signatures. Their names are in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, whose exact bytes are signed. Absent if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body in base64, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl PulledDelivery {
    fn new(message: OfferedMessage) -> Self {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = message.headers.iter();
        let (body, body_base64) = match String::from_utf8(message.body.into()) {
            Ok(body) => (Some(body), None),
            Err(binary) => (None, Some(BASE64_STANDARD.encode(binary.as_bytes()))),
        };
        Self {
            id: message.id.to_string(),
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body,
            body_base64,
        }
    }
}

/// A page of deliveries that are leased to the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct PullPage {
    /// The deliveries. Empty if none is due.
    pub data: Vec<PulledDelivery>,
    /// What commits the page. Absent if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page to commit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullCommit {
    /// The `cursor` of the page.
    #[schema(max_length = 64)]
    pub cursor: String,
    /// The deliveries of the page that the consumer returns, by id, each with the reason. They have
    /// failed, and are offered again on the schedule of the endpoint.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub failed: BTreeMap<String, String>,
}

/// The result of a commit.
#[derive(Debug, Serialize, ToSchema)]
pub struct PullReceipt {
    /// Number of deliveries that are delivered now. Those whose lease ended before, and that were
    /// offered again, are not among them.
    pub committed: usize,
    /// Number of deliveries that were returned.
    pub failed: usize,
}

/// The lease of a page, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PullCursor {
    lease: WorkLease,
    hold: Duration,
}

impl fmt::Display for PullCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, hold } = self;
        write!(f, "{:x}.{:x}.{:x}", lease.token, lease.until.micros(), hold.as_millis())
    }
}

impl FromStr for PullCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| u64::from_str_radix(part, 16).map_err(drop));
        let mut next = || parts.next().unwrap_or(Err(()));
        let (token, until, hold) = (next()?, next()?, Duration::from_millis(next()?));
        let lease = WorkLease {
            token: token.cast_signed(),
            until: Timestamp::from_micros(until.cast_signed()),
        };
        // Positive tokens are those of nodes that send.
        let is_offer = lease.token < 0 && HOLDS.contains(&hold) && parts.next().is_none();
        is_offer.then_some(Self { lease, hold }).ok_or(())
    }
}

fn find_pulled(app: &AppState, text: &str) -> Result<Arc<EndpointRuntime>, ApiProblem> {
    let target = find_endpoint(&app.live.current_settings(), text)?;
    if target.is_pulled() {
        return Ok(target);
    }
    let kind = &target.endpoint.settings.kind;
    let detail = format!(
        "deliveries of an endpoint of kind `{kind}` are sent; those of `pull` can be fetched"
    );
    Err(ApiProblem::conflict(detail))
}

/// Fetches due deliveries, which are leased to the caller until they are committed. Those that are
/// not committed in time are offered again, under the same `webhook-id`.
#[utoipa::path(get, path = "/api/v1/pull/{endpoint}", tag = "pull", operation_id = "pull_deliveries",
    params(("endpoint" = String, Path), PullQuery),
    responses((status = 200, body = PullPage), (status = 404, body = ApiProblem), (status = 405, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn pull_deliveries(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    (method, uri): (Method, Uri),
    Path(endpoint): Path<String>,
    QueryInput(query): QueryInput<PullQuery>,
) -> Result<Json<PullPage>, ApiProblem> {
    // The router also answers HEAD here, whose caller would not get what is leased to it.
    if method != Method::GET {
        return Err(method_not_allowed(method, uri).await);
    }
    let terms = query.terms()?;
    let target = find_pulled(&app, &endpoint)?;
    if target.is_locked() {
        return Err(ApiProblem::conflict(LOCKED));
    }
    if !target.endpoint.settings.enabled {
        return Err(ApiProblem::conflict("the endpoint is disabled; its deliveries wait"));
    }
    let offer = offer_deliveries(&app.journal, &target, terms).await?;
    let cursor = offer.lease.map(|lease| PullCursor { lease, hold: terms.hold }.to_string());
    let data = offer.messages.into_iter().map(PulledDelivery::new).collect();
    Ok(Json(PullPage { data, cursor }))
}

/// Commits a page: its deliveries are delivered, except those that the caller returns.
#[utoipa::path(post, path = "/api/v1/pull/{endpoint}/commit", tag = "pull", operation_id = "commit_pulled",
    params(("endpoint" = String, Path)), request_body = PullCommit,
    responses((status = 200, body = DataAnswer<PullReceipt>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn commit_pulled(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(endpoint): Path<String>,
    JsonInput(commit): JsonInput<PullCommit>,
) -> Result<Json<DataAnswer<PullReceipt>>, ApiProblem> {
    let target = find_pulled(&app, &endpoint)?;
    let cursor: PullCursor = commit
        .cursor
        .parse()
        .map_err(|()| ApiProblem::fault("cursor", "is not the cursor of a page"))?;
    if commit.failed.len() > MOST {
        return Err(ApiProblem::fault("failed", format!("at most {MOST} deliveries")));
    }
    let mut returned = BTreeMap::new();
    for (id, reason) in commit.failed {
        let read: DeliveryId = id.parse().map_err(|_invalid| {
            ApiProblem::fault(format!("failed.{id}"), "is not the id of a delivery")
        })?;
        returned.insert(read, reason);
    }
    let receipt =
        commit_offer(&app.journal, &target, (cursor.lease, cursor.hold), &returned).await?;
    Ok(data_answer(PullReceipt { committed: receipt.committed, failed: receipt.returned }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let lease = WorkLease { token: i64::MIN + 5, until: Timestamp::from_micros(1_790_000_000) };
        let cursor = PullCursor { lease, hold: HOLD };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let own = WorkLease { token: 5, ..lease };
        for text in [
            PullCursor { lease: own, hold: HOLD }.to_string(),
            PullCursor { lease, hold: Duration::ZERO }.to_string(),
            format!("{cursor}.0"),
            "1.2".to_owned(),
            String::new(),
        ] {
            assert_eq!(text.parse::<PullCursor>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_page_has_bounds() {
        let terms = |limit: Option<&str>, lease: Option<&str>| {
            let query = PullQuery { limit: limit.map(Into::into), lease: lease.map(Into::into) };
            query.terms().ok().map(|terms| (terms.most, terms.hold.as_secs()))
        };
        assert_eq!(terms(None, None), Some((100, 60)));
        assert_eq!(terms(Some("200"), Some("1h")), Some((200, 3_600)));
        for (limit, lease) in [("0", "1m"), ("201", "1m"), ("x", "1m"), ("1", "0s"), ("1", "2h")] {
            assert_eq!(terms(Some(limit), Some(lease)), None, "{limit} {lease}");
        }
    }
}
