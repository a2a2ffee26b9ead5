//! The health of endpoints, from a bounded number of the newest rows.

use crate::model::alert::SubjectKind;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::EndpointId;
use crate::model::subject_health::{HealthMemory, KeptHealth};
use crate::store::{
    DeathCause, EndpointQueue, EventStore, FailedAttempt, MOST_CAUSES, RecentDelivery, StoreError,
};
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Most waiting deliveries that are counted for one endpoint.
pub const MOST_WAITING: u32 = 1_000;
/// Most dead letters that are read, newest first.
pub const MOST_LETTERS: u32 = 10_000;
/// Most deliveries that are read, newest first. With a million stored deliveries, the list of
/// endpoints took 25 ms (unoptimised build).
pub const MOST_DELIVERIES: u32 = 10_000;
/// Age up to which deliveries are read.
pub const SPAN: Duration = Duration::from_hours(24);
/// Age up to which deliveries count for the failure rate.
pub const RATE_SPAN: Duration = Duration::from_mins(15);
/// Fewest attempts for which a failure rate is given.
const FEWEST_ATTEMPTS: u64 = 20;

/// If this many deliveries have failed and wait for a retry, the endpoint counts as failing.
const MANY_RETRYING: u64 = 5;
/// If a delivery that was made longer ago waits for a retry, its endpoint counts as failing.
const PATIENCE: Duration = Duration::from_mins(1);

/// Figures of the newest deliveries of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct RecentFigures {
    pub delivered: u64,
    /// Failed attempts of those deliveries.
    pub failed_attempts: u64,
    pub last_success: Option<Timestamp>,
    /// Attempts of the deliveries that were made within [`RATE_SPAN`].
    late_attempts: u64,
    /// The attempts among them that failed.
    late_failures: u64,
    /// Milliseconds from planning to the end, for each delivery that arrived.
    pub millis: Vec<u32>,
}

/// The health of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct EndpointHealth {
    pub recent: RecentFigures,
    pub waiting: u64,
    pub retrying: u64,
    pub oldest_at: Option<Timestamp>,
    /// Time at which the oldest delivery that waits for a retry was made.
    pub oldest_retry_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    /// Dead letters that are not being replayed.
    pub dead: u64,
    /// The latest failure of deliveries that wait for a retry or are dead letters.
    pub last_failure: Option<FailedAttempt>,
    /// The time since which the endpoint has been failing, as the evaluation of alerts stored it.
    pub failing_since: Option<Timestamp>,
}

impl RecentFigures {
    fn add(&mut self, row: &RecentDelivery, recently: Timestamp) {
        let is_delivered = row.status == DeliveryStatus::Delivered;
        let attempts = u64::from(row.attempts);
        let failed = attempts.saturating_sub(u64::from(is_delivered));
        self.failed_attempts += failed;
        if row.created_at >= recently {
            self.late_attempts += attempts;
            self.late_failures += failed;
        }
        if let Some(at) = row.settled_at.filter(|_| is_delivered) {
            self.delivered += 1;
            self.last_success = self.last_success.max(Some(at));
            let took = at.since(row.created_at).as_millis();
            self.millis.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
    }

    /// Returns the time within which this share of the deliveries arrived, in milliseconds.
    pub fn percentile(&self, percent: usize) -> Option<u32> {
        let mut millis = self.millis.clone();
        millis.sort_unstable();
        let place = (millis.len() * percent).div_ceil(100).saturating_sub(1);
        millis.get(place).copied()
    }

    /// Returns the failed attempts in percent, for deliveries made within [`RATE_SPAN`]. `None` if
    /// there were fewer than [`FEWEST_ATTEMPTS`].
    pub fn failure_rate(&self) -> Option<u64> {
        (self.late_attempts >= FEWEST_ATTEMPTS)
            .then(|| self.late_failures * 100 / self.late_attempts)
    }
}

/// Loads the health of all endpoints. `rows` are the newest deliveries, and `kept` the stored
/// states, which some callers have already read.
pub async fn load_endpoint_healths(
    journal: &EventStore,
    now: Timestamp,
    rows: &[RecentDelivery],
    kept: &[KeptHealth],
) -> Result<HashMap<EndpointId, EndpointHealth>, StoreError> {
    let mut endpoints: HashMap<EndpointId, EndpointHealth> = HashMap::new();
    let (since, recently) = (now.before(SPAN), now.before(RATE_SPAN));
    for row in rows.iter().filter(|row| row.created_at >= since) {
        endpoints.entry(row.endpoint_id).or_default().recent.add(row, recently);
    }
    for queue in journal.list_endpoint_queues(MOST_WAITING).await? {
        endpoints.entry(queue.endpoint_id).or_default().note_queue(&queue);
    }
    let causes = journal.list_death_causes(MOST_LETTERS).await?;
    for cause in &causes {
        if let Some(id) = cause.endpoint_id {
            let health = endpoints.entry(id).or_default();
            health.dead += cause.letters.saturating_sub(cause.replaying);
        }
    }
    for failure in journal.list_last_failures(MOST_LETTERS).await? {
        endpoints.entry(failure.endpoint_id).or_default().last_failure = Some(failure.attempt);
    }
    for known in kept.iter().filter(|known| known.kind == SubjectKind::Endpoint) {
        if let Ok(id) = known.subject.parse() {
            let health = endpoints.entry(id).or_default();
            health.note_state(&known.memory, are_letters_cut(&causes));
        }
    }
    Ok(endpoints)
}

/// Whether these causes of the newest [`MOST_LETTERS`] dead letters may leave out others.
pub fn are_letters_cut(causes: &[DeathCause]) -> bool {
    let letters: u64 = causes.iter().map(|cause| cause.letters).sum();
    letters >= u64::from(MOST_LETTERS) || causes.len() >= MOST_CAUSES as usize
}

/// Whether the newest [`MOST_DELIVERIES`] deliveries reach back less than [`RATE_SPAN`], so that
/// failure rates may be missing.
pub fn are_rates_cut(rows: &[RecentDelivery], now: Timestamp) -> bool {
    let start = now.before(RATE_SPAN);
    rows.len() >= MOST_DELIVERIES as usize && rows.last().is_some_and(|row| row.created_at > start)
}

impl EndpointHealth {
    fn note_queue(&mut self, queue: &EndpointQueue) {
        self.waiting = queue.waiting;
        self.retrying = queue.retrying;
        self.oldest_at = queue.oldest_at;
        self.oldest_retry_at = queue.oldest_retry_at;
        self.due_at = queue.due_at;
    }

    /// Notes the stored state. If dead letters were left out, the stored failure may be one of
    /// them, so it stands in for a failure that was not found.
    fn note_state(&mut self, memory: &HealthMemory, are_letters_cut: bool) {
        self.failing_since = memory.failing_since;
        if let Some(at) = memory.failing_since.filter(|_| are_letters_cut) {
            let error = memory.reason.clone();
            let stored = FailedAttempt { at, response_status: None, error };
            self.last_failure.get_or_insert(stored);
        }
    }

    /// Returns the last failure, unless a delivery has arrived since.
    pub fn standing_failure(&self) -> Option<&FailedAttempt> {
        let failure = self.last_failure.as_ref()?;
        let is_over = self.recent.last_success.is_some_and(|success| success > failure.at);
        (!is_over).then_some(failure)
    }

    /// Returns the last failure if the endpoint counts as failing. An endpoint begins to fail when
    /// its failures go beyond what a first retry solves. It stays failing until a delivery arrives,
    /// even if no delivery waits any more because the last one died.
    pub fn failing_cause(&self, now: Timestamp) -> Option<&FailedAttempt> {
        let is_failing = self.failing_since.is_some() || self.is_trouble(now);
        self.standing_failure().filter(|_| is_failing)
    }

    /// Whether the failures go beyond what a first retry solves.
    fn is_trouble(&self, now: Timestamp) -> bool {
        let is_old = self.oldest_retry_at.is_some_and(|at| now.since(at) > PATIENCE);
        self.retrying >= MANY_RETRYING || is_old
    }
}

/// Returns in a few words why an attempt failed.
pub fn tell_failed(failure: &FailedAttempt) -> String {
    match (&failure.error, failure.response_status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("the receiver answered {status}"),
        (None, None) => "there was no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs(second))
    }

    #[test]
    fn only_the_age_of_a_retry_is_trouble() {
        let waiting = EndpointHealth { oldest_at: Some(second(0)), ..EndpointHealth::default() };
        assert!(!waiting.is_trouble(second(90)), "it waits for a limit of its endpoint");
        let retrying = EndpointHealth { oldest_retry_at: Some(second(0)), ..waiting };
        assert!(retrying.is_trouble(second(90)) && !retrying.is_trouble(second(60)));
    }

    #[test]
    fn a_failure_outside_a_full_window_is_not_over() {
        let reason = Some("refused".to_owned());
        let memory =
            HealthMemory { failing_since: Some(second(5)), reason, ..HealthMemory::default() };
        let mut health = EndpointHealth::default();
        health.note_state(&memory, false);
        assert!(health.failing_cause(second(9)).is_none(), "all its dead letters were read");
        health.note_state(&memory, true);
        let error = health.failing_cause(second(9)).and_then(|failure| failure.error.as_deref());
        assert_eq!(error, Some("refused"));
        health.recent.last_success = Some(second(8));
        assert!(health.failing_cause(second(9)).is_none());
    }

    #[test]
    fn windows_are_cut_when_they_are_full() {
        let delivery = |at| RecentDelivery {
            endpoint_id: EndpointId::generate(),
            status: DeliveryStatus::Delivered,
            attempts: 1,
            created_at: at,
            settled_at: Some(at),
        };
        let now = second(1_000);
        let full = vec![delivery(second(500)); MOST_DELIVERIES as usize];
        assert!(are_rates_cut(&full, now) && !are_rates_cut(&full[1..], now));
        assert!(!are_rates_cut(&full, second(2_000)), "it reaches back 15 minutes");
    }

    #[test]
    fn percentiles_are_measured_values() {
        let figures = RecentFigures { millis: vec![30, 10, 20, 40], ..RecentFigures::default() };
        assert_eq!(figures.percentile(50), Some(20));
        assert_eq!(figures.percentile(95), Some(40));
        assert_eq!(RecentFigures::default().percentile(50), None);
    }
}
