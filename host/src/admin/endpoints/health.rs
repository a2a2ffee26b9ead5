//! How endpoints are doing, from a bounded number of the newest rows.

use crate::admin::call::PageCall;
use crate::admin::signs::StateSign;
use crate::admin::texts::{tell_ago, tell_number, tell_span};
use crate::api::problem::ApiProblem;
use crate::health::endpoint_health::{
    EndpointHealth, MOST_DELIVERIES, MOST_WAITING, SPAN, load_endpoint_healths, tell_failed,
};
use crate::model::id::EndpointId;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::RecentDelivery;
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Instant;

/// The health of all endpoints.
#[derive(Debug, Default)]
pub struct HealthReport {
    endpoints: HashMap<EndpointId, EndpointHealth>,
    /// Whether the token may read deliveries. If not, only settings are known.
    pub is_known: bool,
}

impl HealthReport {
    /// Loads the health, if the token may read deliveries.
    pub async fn load(call: &PageCall) -> Result<Self, ApiProblem> {
        if !call.may_read("/api/v1/deliveries") {
            return Ok(Self::default());
        }
        let rows =
            call.app().journal.list_recent_deliveries(call.now.before(SPAN), MOST_DELIVERIES);
        Self::load_with(call, &rows.await?).await
    }

    /// Loads the health for a caller that has already read the newest deliveries.
    pub async fn load_with(call: &PageCall, rows: &[RecentDelivery]) -> Result<Self, ApiProblem> {
        let journal = &call.app().journal;
        let kept = journal.list_health().await?;
        let endpoints = load_endpoint_healths(journal, call.now, rows, &kept).await?;
        Ok(Self { endpoints, is_known: true })
    }

    /// Returns the state of an endpoint, and its reason. Without deliveries, only the settings
    /// count.
    pub fn judge(&self, target: &EndpointRuntime, now: Timestamp) -> (StateSign, String) {
        let settings = &target.endpoint.settings;
        if self.is_known || target.is_locked() || !settings.enabled {
            return judge_endpoint(&self.of(target.endpoint.id), target, now);
        }
        (StateSign { word: "Enabled", ..StateSign::QUIET }, "deliveries are not shown".to_owned())
    }

    /// Returns the health of one endpoint.
    pub fn of(&self, id: EndpointId) -> EndpointHealth {
        self.endpoints.get(&id).cloned().unwrap_or_default()
    }
}

/// Returns the state and its reason.
fn judge_endpoint(
    health: &EndpointHealth,
    target: &EndpointRuntime,
    now: Timestamp,
) -> (StateSign, String) {
    if target.is_locked() {
        return (StateSign::LOCKED, "its secret cannot be read; enter it again".to_owned());
    }
    if !target.endpoint.settings.enabled {
        return (StateSign::PAUSED, tell_waiting(health.waiting));
    }
    if let Some(failure) = health.failing_cause(now) {
        return (StateSign::FAILING, tell_failed(failure));
    }
    // The last failure may also be that of a dead letter, which is not tried again.
    if let Some(failure) = health.standing_failure().filter(|_| health.retrying > 0) {
        return (StateSign::RETRYING, tell_failed(failure));
    }
    if let Some(held) = target.lane.lock_pace().remaining_hold(Instant::now()) {
        return (StateSign::SLOWED, format!("its receiver asked for {}", tell_span(held)));
    }
    if health.dead > 0 {
        return (StateSign::REJECTING, tell_number(health.dead, "dead letter", "dead letters"));
    }
    let Some(success) = health.recent.last_success else {
        return (StateSign::QUIET, "nothing delivered in the last 24 hours".to_owned());
    };
    (StateSign::WELL, format!("last delivery {}", tell_ago(now, success)))
}

/// Says how many deliveries wait. Numbers at the bound are followed by "or more".
pub fn tell_waiting(waiting: u64) -> String {
    if waiting >= u64::from(MOST_WAITING) {
        return format!("{} or more wait", crate::admin::texts::tell_count(waiting));
    }
    if waiting == 0 {
        return "nothing waits".to_owned();
    }
    format!(
        "{} {}",
        crate::admin::texts::tell_count(waiting),
        if waiting == 1 { "waits" } else { "wait" }
    )
}
