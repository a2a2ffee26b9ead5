//! How endpoints are doing, from what the store can tell within a bound.

use crate::admin::call::PageCall;
use crate::admin::signs::StateSign;
use crate::admin::texts::{tell_ago, tell_number, tell_span};
use crate::api::problem::ApiProblem;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::EndpointId;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::{EndpointQueue, FailedAttempt, RecentDelivery};
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Deliveries that are counted at one endpoint.
pub const MOST_WAITING: u32 = 1_000;
/// Dead letters that are looked through, newest first.
pub const MOST_LETTERS: u32 = 10_000;
/// Deliveries that are looked through, newest first. With a million stored, the list of endpoints took
/// 25 ms (unoptimised build).
pub const MOST_DELIVERIES: u32 = 10_000;
/// How far back deliveries are looked for.
pub const SPAN: Duration = Duration::from_hours(24);
/// Failing endpoints whose last failure is looked up.
const MOST_FAILURES: usize = 50;

/// Deliveries that are tried again and make an endpoint failing, not only unlucky.
const MANY_RETRYING: u64 = 5;
/// How long a delivery may be tried in vain before its endpoint is failing.
const PATIENCE: Duration = Duration::from_mins(1);

/// The newest deliveries of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct RecentFigures {
    pub delivered: u64,
    /// Attempts that failed, of those deliveries.
    pub failed_attempts: u64,
    pub last_success: Option<Timestamp>,
    /// From the planning to the end of those delivered, in milliseconds.
    pub millis: Vec<u32>,
}

/// How one endpoint is doing.
#[derive(Debug, Clone, Default)]
pub struct EndpointHealth {
    pub recent: RecentFigures,
    pub waiting: u64,
    pub retrying: u64,
    pub oldest_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    /// Dead letters that are not being replayed.
    pub dead: u64,
    pub last_failure: Option<FailedAttempt>,
}

/// The health of all endpoints.
#[derive(Debug, Default)]
pub struct HealthReport {
    endpoints: HashMap<EndpointId, EndpointHealth>,
    /// Whether the token may see deliveries; without that nothing is known but settings.
    pub is_known: bool,
}

impl RecentFigures {
    fn add(&mut self, row: &RecentDelivery) {
        let is_delivered = row.status == DeliveryStatus::Delivered;
        let attempts = u64::from(row.attempts);
        self.failed_attempts += attempts.saturating_sub(u64::from(is_delivered));
        if let Some(at) = row.settled_at.filter(|_| is_delivered) {
            self.delivered += 1;
            self.last_success = self.last_success.max(Some(at));
            let took = at.since(row.created_at).as_millis();
            self.millis.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
    }

    /// The time that this share of deliveries took at most, in milliseconds.
    pub fn percentile(&self, percent: usize) -> Option<u32> {
        let mut millis = self.millis.clone();
        millis.sort_unstable();
        let place = (millis.len() * percent).div_ceil(100).saturating_sub(1);
        millis.get(place).copied()
    }
}

impl HealthReport {
    /// Asks the store, if the token may see deliveries.
    pub async fn load(call: &PageCall) -> Result<Self, ApiProblem> {
        if !call.may_read("/api/v1/deliveries") {
            return Ok(Self::default());
        }
        let rows =
            call.app().journal.list_recent_deliveries(call.now.before(SPAN), MOST_DELIVERIES);
        Self::load_with(call, &rows.await?).await
    }

    /// The same for a caller that has the newest deliveries at hand.
    pub async fn load_with(call: &PageCall, rows: &[RecentDelivery]) -> Result<Self, ApiProblem> {
        let journal = &call.app().journal;
        let mut endpoints: HashMap<EndpointId, EndpointHealth> = HashMap::new();
        let since = call.now.before(SPAN);
        for row in rows.iter().filter(|row| row.created_at >= since) {
            endpoints.entry(row.endpoint_id).or_default().recent.add(row);
        }
        for queue in journal.list_endpoint_queues(MOST_WAITING).await? {
            endpoints.entry(queue.endpoint_id).or_default().note_queue(&queue);
        }
        for cause in journal.list_death_causes(MOST_LETTERS).await? {
            if let Some(id) = cause.endpoint_id {
                let health = endpoints.entry(id).or_default();
                health.dead += cause.letters.saturating_sub(cause.replaying);
            }
        }
        let failing = endpoints.iter_mut().filter(|(_, health)| health.retrying > 0);
        for (id, health) in failing.take(MOST_FAILURES) {
            health.last_failure = journal.find_last_failure(*id).await?;
        }
        Ok(Self { endpoints, is_known: true })
    }

    /// The state of an endpoint, and why. Without deliveries only its settings tell.
    pub fn judge(&self, target: &EndpointRuntime, now: Timestamp) -> (StateSign, String) {
        let settings = &target.endpoint.settings;
        if self.is_known || target.is_locked() || !settings.enabled {
            return self.of(target.endpoint.id).judge(target, now);
        }
        (StateSign { word: "Enabled", ..StateSign::QUIET }, "deliveries are not shown".to_owned())
    }

    /// How one endpoint is doing.
    pub fn of(&self, id: EndpointId) -> EndpointHealth {
        self.endpoints.get(&id).cloned().unwrap_or_default()
    }
}

impl EndpointHealth {
    fn note_queue(&mut self, queue: &EndpointQueue) {
        self.waiting = queue.waiting;
        self.retrying = queue.retrying;
        self.oldest_at = queue.oldest_at;
        self.due_at = queue.due_at;
    }

    /// The last failure, if nothing was delivered after it.
    pub fn standing_failure(&self) -> Option<&FailedAttempt> {
        let failure = self.last_failure.as_ref()?;
        let is_over = self.recent.last_success.is_some_and(|success| success > failure.at);
        (!is_over).then_some(failure)
    }

    /// Whether failures are more than what a first retry mends.
    fn is_trouble(&self, now: Timestamp) -> bool {
        let is_old = self.oldest_at.is_some_and(|at| now.since(at) > PATIENCE);
        self.retrying >= MANY_RETRYING || is_old
    }

    /// The state, and why.
    pub fn judge(&self, target: &EndpointRuntime, now: Timestamp) -> (StateSign, String) {
        if target.is_locked() {
            return (StateSign::LOCKED, "its secret has to be entered again".to_owned());
        }
        if !target.endpoint.settings.enabled {
            return (StateSign::PAUSED, tell_waiting(self.waiting));
        }
        if let Some(failure) = self.standing_failure() {
            let sign = if self.is_trouble(now) { StateSign::FAILING } else { StateSign::RETRYING };
            return (sign, tell_failed(failure));
        }
        if let Some(held) = target.lane.lock_pace().remaining_hold(Instant::now()) {
            return (StateSign::SLOWED, format!("its receiver asked for {}", tell_span(held)));
        }
        if self.dead > 0 {
            return (StateSign::REJECTING, tell_number(self.dead, "dead letter", "dead letters"));
        }
        let Some(success) = self.recent.last_success else {
            return (StateSign::QUIET, "nothing delivered in the last 24 hours".to_owned());
        };
        (StateSign::WELL, format!("last delivery {}", tell_ago(now, success)))
    }
}

/// Why an attempt failed, in a few words.
pub fn tell_failed(failure: &FailedAttempt) -> String {
    match (&failure.error, failure.response_status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("the receiver answered {status}"),
        (None, None) => "there was no answer".to_owned(),
    }
}

/// How many wait. Beyond the bound it is not counted on.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let figures = RecentFigures { millis: vec![30, 10, 20, 40], ..RecentFigures::default() };
        assert_eq!(figures.percentile(50), Some(20));
        assert_eq!(figures.percentile(95), Some(40));
        assert_eq!(RecentFigures::default().percentile(50), None);
    }
}
