//! `/alerts`: alerts, their acknowledgements and silences. The rules are part of the configuration.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::AppState;
use super::answer::{DataAnswer, ListAnswer, PageRequest, data_answer, list_page, whole_list};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::events::id;
use super::problem::ApiProblem;
use crate::alerts::alert_texts::{tell_alert, tell_next_step, tell_value};
use crate::model::alert::{AlertState, AlertSubject, StoredAlert};
use crate::model::alert_rule::{AlertMetric, AlertRule, AlertSeverity};
use crate::model::id::AlertId;
use crate::store::ListPage;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::Uri;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// An alert: a rule's finding about one subject.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertView {
    /// Id of the alert. If the rule fires again later, that alert has another id.
    pub id: String,
    /// The rule.
    pub rule: AlertMetric,
    /// Severity.
    pub severity: AlertSeverity,
    /// `pending` until the value has been at its limit for the rule's `for`, then `firing`, then
    /// `resolved`.
    pub state: AlertState,
    /// Subject: an endpoint, a flow, a source or the server.
    pub subject: AlertSubject,
    /// Time at which the value reached its limit or, for a resolved alert, the time of its end.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Measured value. The unit depends on the rule: a number, percent, seconds or days.
    pub value: i64,
    /// Limit, in the same unit.
    pub limit: i64,
    /// Measured value with its unit, as text.
    pub shown_value: String,
    /// Limit with its unit, as text.
    pub shown_limit: String,
    /// The problem in one sentence.
    pub summary: String,
    /// The next step in one sentence. Null once the alert is resolved.
    pub next_step: Option<String>,
    /// Time of the last notice. Null if no notice was sent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub notified_at: Option<Timestamp>,
    /// Time of the acknowledgement, which ends reminders.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub acknowledged_at: Option<Timestamp>,
    /// Name of the token that acknowledged it.
    pub acknowledged_by: Option<String>,
    /// End of the silence. Until then no notices are sent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub silenced_until: Option<Timestamp>,
}

impl AlertView {
    fn new(alert: StoredAlert) -> Self {
        let StoredAlert { id, finding, reaction, .. } = alert;
        let is_open = finding.state != AlertState::Resolved;
        Self {
            id: id.to_string(),
            rule: finding.metric,
            severity: finding.severity,
            state: finding.state,
            since: finding.since,
            value: finding.value,
            limit: finding.limit,
            shown_value: tell_value(finding.metric, finding.value),
            shown_limit: tell_value(finding.metric, finding.limit),
            summary: tell_alert(&finding),
            next_step: is_open.then(|| tell_next_step(&finding)),
            notified_at: finding.notified.map(|(at, _)| at),
            acknowledged_at: reaction.acknowledged_at,
            acknowledged_by: reaction.acknowledged_by,
            silenced_until: reaction.silenced_until,
            subject: finding.subject,
        }
    }
}

/// A rule as in force. `alerts.*` in the configuration changes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleView {
    /// Name of the rule, after the value that it measures.
    pub rule: AlertMetric,
    /// Whether the rule is evaluated.
    pub enabled: bool,
    /// Value at which the rule fires. Null if the limit is learnt.
    pub limit: Option<i64>,
    /// Value at which the rule clears. Null if that is the limit.
    pub clear: Option<i64>,
    /// Whether the rule fires at the limit and below it, not above it.
    pub fires_below: bool,
    /// Time that the value must be at its limit before the rule fires.
    #[serde(rename = "for")]
    #[schema(value_type = String)]
    pub wait: TimeSpan,
    /// Time that the value must be clear before the alert is resolved.
    #[schema(value_type = String)]
    pub keep: TimeSpan,
    /// Severity of the rule's alerts.
    pub severity: AlertSeverity,
    /// Limits of single subjects, by name.
    pub limits: BTreeMap<String, i64>,
    /// Names of subjects that the rule ignores.
    pub except: Vec<String>,
}

impl RuleView {
    fn new(rule: AlertRule) -> Self {
        Self {
            rule: rule.metric,
            enabled: rule.enabled,
            limit: rule.limit,
            clear: rule.clear,
            fires_below: rule.metric.fires_below(),
            wait: TimeSpan::new(rule.wait),
            keep: TimeSpan::new(rule.keep),
            severity: rule.severity,
            limits: rule.limits,
            except: rule.except,
        }
    }
}

/// Selects alerts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// Alerts in this state.
    pub state: Option<AlertState>,
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of alerts, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

impl AlertQuery {
    /// Returns a query for alerts in a state, with as many as one page holds.
    pub fn in_state(state: Option<AlertState>) -> Self {
        Self { state, cursor: None, limit: Some("200".to_owned()) }
    }

    /// Returns the requested page.
    fn page(
        &self,
        mut found: Vec<StoredAlert>,
    ) -> Result<ListPage<StoredAlert, AlertId>, ApiProblem> {
        let pages = PageRequest { cursor: self.cursor.clone(), limit: self.limit.clone() };
        let (limit, after) = (pages.limit()? as usize, pages.after::<AlertId>()?);
        found.retain(|alert| self.state.is_none_or(|state| alert.finding.state == state));
        if let Some(after) = after {
            let before = found.iter().position(|alert| alert.id == after);
            found.drain(..before.map_or(0, |before| before + 1));
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|alert| alert.id);
        Ok(ListPage { rows: found, next })
    }
}

/// Length of a silence: one of the two fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceRequest {
    /// Length from now on, such as `2h`. `0s` ends a silence.
    #[serde(default, rename = "for")]
    #[schema(value_type = Option<String>)]
    pub span: Option<TimeSpan>,
    /// End of the silence, RFC 3339.
    #[serde(default)]
    pub until: Option<String>,
}

impl SilenceRequest {
    fn until(&self, now: Timestamp) -> Result<Option<Timestamp>, ApiProblem> {
        match (self.span, &self.until) {
            (Some(span), None) => Ok((!span.get().is_zero()).then(|| now.after(span.get()))),
            (None, Some(until)) => {
                let until = Timestamp::parse(until);
                let until = until.map_err(|error| ApiProblem::fault("until", error.to_string()))?;
                Ok(Some(until).filter(|until| *until > now))
            }
            (None, None) | (Some(_), Some(_)) => {
                Err(ApiProblem::fault("for", "set either `for` or `until`"))
            }
        }
    }
}

/// Lists alerts: firing and pending ones first, then those resolved within 30 days. At most 1,000
/// in all.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", operation_id = "list_alerts", params(AlertQuery),
    responses((status = 200, body = ListAnswer<AlertView>), (status = 422, body = ApiProblem)))]
pub async fn list_alerts(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    uri: Uri,
    QueryInput(query): QueryInput<AlertQuery>,
) -> Result<Json<ListAnswer<AlertView>>, ApiProblem> {
    let found = query.page(app.journal.list_alerts().await?)?;
    Ok(list_page(&uri, found, AlertView::new))
}

/// Lists the rules as in force, including those that are off.
#[utoipa::path(get, path = "/api/v1/alerts/rules", tag = "alerts", operation_id = "list_alert_rules",
    responses((status = 200, body = ListAnswer<RuleView>)))]
pub async fn list_rules(
    State(app): State<AppState>,
    _principal: CallPrincipal,
) -> Json<ListAnswer<RuleView>> {
    whole_list(app.alerts.rules().list().into_iter().map(RuleView::new).collect())
}

async fn find_alert(app: &AppState, text: &str) -> Result<StoredAlert, ApiProblem> {
    let alert: AlertId = id("alert", text)?;
    let found = app.journal.find_alert(alert).await?;
    found.ok_or_else(|| ApiProblem::missing("alert", text))
}

async fn answer_alert(
    app: &AppState,
    text: &str,
) -> Result<Json<DataAnswer<AlertView>>, ApiProblem> {
    Ok(data_answer(AlertView::new(find_alert(app, text).await?)))
}

/// Returns one alert.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", tag = "alerts", operation_id = "show_alert",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<AlertView>), (status = 404, body = ApiProblem)))]
pub async fn show_alert(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<Json<DataAnswer<AlertView>>, ApiProblem> {
    answer_alert(&app, &text).await
}

const OVER: &str = "this alert is already resolved, so it cannot be acknowledged or silenced";

/// Acknowledges an alert. Reminders end; a notice of its end is still sent.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/acknowledge", tag = "alerts", operation_id = "acknowledge_alert",
    params(("id" = String, Path)),
    responses((status = 200, body = DataAnswer<AlertView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn acknowledge_alert(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<Json<DataAnswer<AlertView>>, ApiProblem> {
    let alert = find_alert(&app, &text).await?;
    let by = &principal.token().settings.name;
    if !app.journal.acknowledge_alert(alert.id, by).await? {
        return Err(ApiProblem::conflict(OVER));
    }
    answer_alert(&app, &text).await
}

/// Silences an alert until a time. Afterwards a notice is sent if it still fires, and a notice of
/// its end if its beginning was told.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/silence", tag = "alerts", operation_id = "silence_alert",
    params(("id" = String, Path)), request_body = SilenceRequest,
    responses((status = 200, body = DataAnswer<AlertView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn silence_alert(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
    JsonInput(request): JsonInput<SilenceRequest>,
) -> Result<Json<DataAnswer<AlertView>>, ApiProblem> {
    let alert = find_alert(&app, &text).await?;
    let until = request.until(app.journal.clock().now())?;
    if !app.journal.silence_alert(alert.id, until).await? {
        return Err(ApiProblem::conflict(OVER));
    }
    answer_alert(&app, &text).await
}
