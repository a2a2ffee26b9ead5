//! Health as the API returns it, beside the settings of each object.

use super::endpoint_health::{EndpointHealth, MOST_WAITING, tell_failed};
use super::flow_health::FlowHealth;
use crate::metrics::ModuleHealth;
use crate::model::subject_health::HealthMemory;
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The health of an object. A field that is unknown or does not apply is left out.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthView {
    /// `well`, `failing`, or `idle` if nothing was done within a day.
    pub state: &'static str,
    /// The time of the last success within a day: a delivery, a plan, a captured event or a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success_at: Option<Timestamp>,
    /// The time since which it has been failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// The cause of the failure, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Failed attempts in percent, for deliveries made in the last 15 minutes. For a module: failed
    /// calls in percent, on this node since it started. Left out if there were fewer than 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<u64>,
    /// The number of waiting deliveries or events, counted up to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// The time at which the oldest waiting one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_waiting_at: Option<Timestamp>,
    /// The time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Timestamp>,
    /// The time within which half of them were done, in milliseconds. For an endpoint: from
    /// planning to delivery. For a module: the upper bound of a histogram's bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The time within which 95 % of them were done, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
}

/// Fewest calls of a module for which a failure rate is given.
const FEWEST_CALLS: u64 = 20;

const fn tell_state(is_failing: bool, has_succeeded: bool) -> &'static str {
    match (is_failing, has_succeeded) {
        (true, _) => "failing",
        (false, true) => "well",
        (false, false) => "idle",
    }
}

impl HealthView {
    /// Returns the view of an endpoint.
    pub fn of_endpoint(health: &EndpointHealth, now: Timestamp) -> Self {
        let failure = health.failing_cause(now);
        let millis = |percent| health.recent.percentile(percent).map(f64::from);
        Self {
            state: tell_state(failure.is_some(), health.recent.last_success.is_some()),
            last_success_at: health.recent.last_success,
            failing_since: failure.map(|failure| health.failing_since.unwrap_or(failure.at)),
            reason: failure.map(tell_failed),
            failure_rate: health.recent.failure_rate(),
            waiting: Some(health.waiting.min(u64::from(MOST_WAITING))),
            oldest_waiting_at: health.oldest_at,
            next_try_at: health.due_at,
            p50_ms: millis(50),
            p95_ms: millis(95),
        }
    }

    /// Returns the view of a flow.
    pub fn of_flow(health: &FlowHealth, memory: Option<&HealthMemory>) -> Self {
        let is_failing = health.failures() > 0;
        let since = memory.and_then(|memory| memory.failing_since);
        Self {
            state: tell_state(is_failing, health.last_plan_at.is_some()),
            last_success_at: health.last_plan_at,
            failing_since: since.filter(|_| is_failing),
            reason: health.detail.clone().filter(|_| is_failing),
            waiting: Some(health.waiting),
            oldest_waiting_at: health.oldest_at,
            next_try_at: health.due_at,
            ..Self::default()
        }
    }

    /// Returns the view of a source. `next_at` is its next run, if it has runs.
    pub fn of_source(
        last_success_at: Option<Timestamp>,
        memory: Option<&HealthMemory>,
        error: Option<&str>,
        next_at: Option<Timestamp>,
    ) -> Self {
        let rhythm = memory.and_then(|memory| memory.rhythm.as_ref());
        let last_event_at = rhythm.and_then(|rhythm| rhythm.last_event_at);
        let last_success_at = last_success_at.max(last_event_at);
        Self {
            state: tell_state(error.is_some(), last_success_at.is_some()),
            last_success_at,
            failing_since: memory
                .and_then(|memory| memory.failing_since)
                .filter(|_| error.is_some()),
            reason: error.map(str::to_owned),
            next_try_at: next_at,
            ..Self::default()
        }
    }

    /// Returns the view of a module, on this node since it started.
    pub fn of_module(health: &ModuleHealth) -> Self {
        let millis = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1e3);
        Self {
            state: tell_state(health.failing_since.is_some(), health.last_success_at.is_some()),
            last_success_at: health.last_success_at,
            failing_since: health.failing_since,
            failure_rate: (health.calls >= FEWEST_CALLS)
                .then(|| health.failed * 100 / health.calls),
            p50_ms: millis(health.p50),
            p95_ms: millis(health.p95),
            ..Self::default()
        }
    }
}
