//! Trials and figures of versions, as answers show them.

use crate::metrics::VersionFigures;
use crate::metrics::histogram::AtomicHistogram;
use crate::model::module_trial::{ModuleTrial, TrialCount, TrialCounts, TrialMode};
use crate::settings::module_trials::{TrialExample, TrialTally};
use crate::store::modules::ModuleVersion;
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The figures of a version's calls on live events, on the node that answers, since its start.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionFiguresView {
    /// Number of calls.
    pub calls: u64,
    /// Number of calls by outcome: `passed`, `dropped`, or the reason of a failure, such as
    /// `module_trap`.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Time within which half of the calls were done, in milliseconds: the upper bound of a
    /// histogram's bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// Time within which 95 % of the calls were done, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// Time within which 99 % of the calls were done, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Most linear memory of an instance at the end of a call, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Times of each role: `filter`, `transform`, `route`, `channel`. The first one of an event
    /// includes the start of the instance.
    pub roles: BTreeMap<&'static str, RoleTimes>,
}

/// The times of one role of a version.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoleTimes {
    /// Number of calls.
    pub calls: u64,
    /// Time within which half of the calls were done, in milliseconds: the upper bound of a
    /// histogram's bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// Time within which 95 % of the calls were done, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// Time within which 99 % of the calls were done, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

impl RoleTimes {
    fn new(times: &AtomicHistogram) -> Self {
        let [p50_ms, p95_ms, p99_ms] = read_percentiles(times);
        Self { calls: times.count(), p50_ms, p95_ms, p99_ms }
    }
}

/// Returns the 50th, 95th and 99th percentile, in milliseconds.
fn read_percentiles(times: &AtomicHistogram) -> [Option<f64>; 3] {
    [50, 95, 99].map(|percent| times.percentile(percent).map(|seconds| seconds * 1e3))
}

impl VersionFiguresView {
    pub fn new(figures: &VersionFigures) -> Option<Self> {
        let outcomes: BTreeMap<&'static str, u64> = figures.outcomes().collect();
        let calls = outcomes.values().sum();
        let [p50_ms, p95_ms, p99_ms] = read_percentiles(figures.times());
        let roles = figures.role_times().map(|(role, times)| (role, RoleTimes::new(times)));
        let (peak_memory_bytes, roles) = (figures.peak_memory(), roles.collect());
        (calls > 0).then_some(Self {
            calls,
            outcomes,
            p50_ms,
            p95_ms,
            p99_ms,
            peak_memory_bytes,
            roles,
        })
    }
}

/// The state of a trial: `shadow`, `canary`, or `ended`.
const fn tell_state(trial: &ModuleTrial) -> &'static str {
    if trial.is_running() { trial.mode.name() } else { "ended" }
}

/// The trial of a version, in a list of versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialSummary {
    /// `shadow`, `canary`, or `ended`.
    pub state: &'static str,
    /// Share of the events (shadow) or records (canary), in percent.
    pub share: u32,
    /// Reason of the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_why: Option<String>,
}

impl TrialSummary {
    pub fn new(trial: &ModuleTrial) -> Self {
        let ended_why = trial.ended.as_ref().map(|end| end.why.clone());
        Self { state: tell_state(trial), share: trial.share, ended_why }
    }
}

/// One of the two versions of a trial.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialArm {
    /// Number of the version. Null if no version is active any more.
    pub version: Option<u32>,
    /// Calls on live events (canary), or runs without effect (shadow).
    pub calls: u64,
    /// Calls that failed, without those for which the host is at fault. For a shadow, the events on
    /// which only the version on trial fails.
    pub failed: u64,
    /// Average run time of a call, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_us: Option<u64>,
}

/// How the results of a shadow compare with those of the active version.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialComparison {
    /// Events with the same result.
    pub same: u64,
    /// Events for which something else would be sent.
    pub changed: u64,
    /// Events for which nothing would be sent any more.
    pub newly_dropped: u64,
    /// Events on which only the version on trial fails.
    pub newly_failing: u64,
    /// Events on which only the active version fails.
    pub no_longer_failing: u64,
    /// Events on which it makes a request whose answer is not recorded.
    pub not_recorded: u64,
    /// Events for which there was no room in the queue, or whose payload exceeds 256 KiB.
    pub left_out: u64,
}

/// A difference that a shadow found.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialExampleView {
    /// Time of the comparison.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Id of the event.
    pub event_id: String,
    /// Name of the flow.
    pub flow: String,
    /// `changed`, `newly_dropped`, `newly_failing`, `no_longer_failing` or `not_recorded`.
    pub kind: &'static str,
    /// What differs, in words: `~` changed, `+` added, `-` removed; or the reason of the drop or
    /// failure.
    pub differences: Vec<String>,
}

/// The trial of a module's version, with its results.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialView {
    /// Name of the module.
    pub module: String,
    /// Number of the version on trial.
    pub version: u32,
    /// `shadow` or `canary`.
    pub mode: TrialMode,
    /// `shadow`, `canary`, or `ended`.
    pub state: &'static str,
    /// Share of the events (shadow) or records (canary), in percent.
    pub share: u32,
    /// Highest share of failed calls of a canary, in percent.
    pub max_failure_rate: u32,
    /// Number of calls from which a canary's failures are judged.
    pub min_calls: u32,
    /// Time at which the trial began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Time at which it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Reason of the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_why: Option<String>,
    /// The active version, during the trial, on all nodes.
    pub active: TrialArm,
    /// The version on trial, on all nodes.
    pub tried: TrialArm,
    /// The comparison. Only for a shadow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<TrialComparison>,
    /// Id of the node that answers.
    pub node: String,
    /// The newest differences that this node found since its start, at most 20. Only for a caller
    /// with `events:read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<Vec<TrialExampleView>>,
    /// Roles that flows lose with the version on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl TrialArm {
    fn new(version: Option<u32>, counts: &TrialCounts, names: [TrialCount; 3]) -> Self {
        let [calls, failed, micros] = names.map(|name| counts.get(name));
        Self { version, calls, failed, mean_us: micros.checked_div(calls) }
    }
}

impl TrialView {
    /// Returns the view of a trial. `stored` are the counts in the database; `tally` holds those of
    /// this node that have yet to get there.
    pub fn new(
        version: &ModuleVersion,
        trial: &ModuleTrial,
        active: Option<u32>,
        stored: TrialCounts,
        tally: Option<&TrialTally>,
    ) -> Self {
        let counts = tally.map_or(stored, |tally| stored.plus(&tally.read_counts()));
        let examples = tally.map(TrialTally::examples).unwrap_or_default();
        let own = [TrialCount::ActiveCalls, TrialCount::ActiveFailed, TrialCount::ActiveMicros];
        let tried = [TrialCount::TrialCalls, TrialCount::TrialFailed, TrialCount::TrialMicros];
        let is_shadow = trial.mode == TrialMode::Shadow;
        Self {
            module: version.name.clone(),
            version: version.version,
            mode: trial.mode,
            state: tell_state(trial),
            share: trial.share,
            max_failure_rate: trial.limits.max_failure_rate,
            min_calls: trial.limits.min_calls,
            started_at: trial.started_at(),
            ended_at: trial.ended.as_ref().map(|end| end.at),
            ended_why: trial.ended.as_ref().map(|end| end.why.clone()),
            active: TrialArm::new(active, &counts, own),
            tried: TrialArm::new(Some(version.version), &counts, tried),
            comparison: is_shadow.then(|| TrialComparison::new(&counts)),
            node: String::new(),
            examples: Some(examples.into_iter().map(TrialExampleView::new).collect()),
            warning: None,
        }
    }
}

impl TrialComparison {
    fn new(counts: &TrialCounts) -> Self {
        Self {
            same: counts.get(TrialCount::Same),
            changed: counts.get(TrialCount::Changed),
            newly_dropped: counts.get(TrialCount::NewlyDropped),
            newly_failing: counts.get(TrialCount::NewlyFailing),
            no_longer_failing: counts.get(TrialCount::NoLongerFailing),
            not_recorded: counts.get(TrialCount::NotRecorded),
            left_out: counts.get(TrialCount::LeftOut),
        }
    }
}

impl TrialExampleView {
    fn new(example: TrialExample) -> Self {
        Self {
            at: example.at,
            event_id: example.event.to_string(),
            flow: example.flow,
            kind: example.kind.name(),
            differences: example.differences,
        }
    }
}
