//! Figures of each module, and the module's health.

use super::histogram::{AtomicHistogram, SHORT_SECONDS};
use crate::model::module_breaker::OpenBreakerAction;
use crate::time::timestamp::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

type ModuleLabel = [(&'static str, String); 1];
type CallLabels = [(&'static str, String); 2];
type VersionLabels = [(&'static str, String); 3];
type CallSeconds = Family<ModuleLabel, AtomicHistogram, fn() -> AtomicHistogram>;

/// Stands for "no time" in an atomic.
const NEVER: i64 = i64::MIN;

/// The outcome of a module's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The module passed the event on, changed or not.
    Passed,
    /// The module dropped the event.
    Dropped,
    /// The call failed.
    Failed,
}

impl CallOutcome {
    /// Returns the word for the outcome.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// The figures of one module.
#[derive(Debug)]
pub struct ModuleFigures {
    /// The number of its breakers that are open: one for each version that flows run.
    pub open_breakers: Gauge,
    passed: Counter,
    dropped: Counter,
    failed: Counter,
    dead_by_breaker: Counter,
    passed_by_breaker: Counter,
    parked_by_breaker: Counter,
    seconds: AtomicHistogram,
    last_success: AtomicI64,
    /// The time of the first failure after the last success, in microseconds, or [`NEVER`].
    failing_since: AtomicI64,
}

/// The health of a module on this node since it started.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleHealth {
    pub calls: u64,
    pub failed: u64,
    pub last_success_at: Option<Timestamp>,
    pub failing_since: Option<Timestamp>,
    /// The time within which half of the calls were done, in seconds.
    pub p50: Option<f64>,
    /// The time within which 95 % of the calls were done, in seconds.
    pub p95: Option<f64>,
}

impl ModuleFigures {
    /// Counts a call.
    pub fn note_call(&self, outcome: CallOutcome, took: Duration, now: Timestamp) {
        let counter = match outcome {
            CallOutcome::Passed => &self.passed,
            CallOutcome::Dropped => &self.dropped,
            CallOutcome::Failed => &self.failed,
        };
        counter.inc();
        self.seconds.observe_span(took);
        if outcome == CallOutcome::Failed {
            let (never, now) = (NEVER, now.micros());
            // Only the first failure in a row sets the time.
            let order = Ordering::Relaxed;
            let _before = self.failing_since.compare_exchange(never, now, order, order);
        } else {
            self.last_success.store(now.micros(), Ordering::Relaxed);
            self.failing_since.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Counts an event that an open breaker kept from the module.
    pub fn note_kept_back(&self, action: OpenBreakerAction) {
        let counter = match action {
            OpenBreakerAction::DeadLetter => &self.dead_by_breaker,
            OpenBreakerAction::Pass => &self.passed_by_breaker,
            OpenBreakerAction::Park => &self.parked_by_breaker,
        };
        counter.inc();
    }

    /// Returns the health of the module.
    pub fn read_health(&self) -> ModuleHealth {
        let time = |cell: &AtomicI64| {
            let micros = cell.load(Ordering::Relaxed);
            (micros != NEVER).then(|| Timestamp::from_micros(micros))
        };
        let failed = self.failed.get();
        ModuleHealth {
            calls: self.passed.get() + self.dropped.get() + failed,
            failed,
            last_success_at: time(&self.last_success),
            failing_since: time(&self.failing_since),
            p50: self.seconds.percentile(50),
            p95: self.seconds.percentile(95),
        }
    }
}

/// The outcomes of calls that are counted for each version: the words of [`CallOutcome`], and for
/// a failure its reason.
const CALL_CODES: [&str; 7] = [
    "passed",
    "dropped",
    "module_failure",
    "module_trap",
    "module_timeout",
    "module_memory",
    "module_output",
];

/// The roles whose times are counted for each version.
const ROLES: [&str; 6] = ["filter", "transform", "route", "channel", "source", "puller"];

/// The figures of one version of a module.
#[derive(Debug)]
pub struct VersionFigures {
    calls: [(&'static str, Counter); CALL_CODES.len()],
    seconds: AtomicHistogram,
    roles: [(&'static str, AtomicHistogram); ROLES.len()],
    /// Most linear memory that an instance had at the end of a run, in bytes.
    peak_memory: AtomicU64,
}

impl VersionFigures {
    /// Counts a call by its outcome, one of [`CALL_CODES`].
    pub fn note_call(&self, code: &str, took: Duration) {
        if let Some((_, counter)) = self.calls.iter().find(|(known, _)| *known == code) {
            counter.inc();
        }
        self.seconds.observe_span(took);
    }

    /// Counts the time of one role, one of [`ROLES`].
    pub fn note_role(&self, role: &str, took: Duration) {
        if let Some((_, seconds)) = self.roles.iter().find(|(known, _)| *known == role) {
            seconds.observe_span(took);
        }
    }

    /// Notes the linear memory of an instance at the end of a run.
    pub fn note_memory(&self, bytes: usize) {
        self.peak_memory.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the most linear memory of an instance, in bytes. `None` before the first run.
    pub fn peak_memory(&self) -> Option<u64> {
        Some(self.peak_memory.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Returns the times of the roles that were called.
    pub fn role_times(&self) -> impl Iterator<Item = (&'static str, &AtomicHistogram)> {
        let roles = self.roles.iter().map(|(role, seconds)| (*role, seconds));
        roles.filter(|(_, seconds)| seconds.count() > 0)
    }

    /// Returns the number of calls by outcome, without the outcomes that did not occur.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.calls.iter().map(|(code, counter)| (*code, counter.get()));
        counts.filter(|(_, calls)| *calls > 0)
    }

    /// Returns the times of all calls.
    pub const fn times(&self) -> &AtomicHistogram {
        &self.seconds
    }
}

/// The metric families of all modules.
#[derive(Debug)]
pub struct ModuleFamilies {
    calls: Family<CallLabels, Counter>,
    version_calls: Family<VersionLabels, Counter>,
    kept_back: Family<CallLabels, Counter>,
    open_breakers: Family<ModuleLabel, Gauge>,
    seconds: CallSeconds,
}

impl ModuleFamilies {
    pub fn register(registry: &mut Registry) -> Self {
        let calls = Family::default();
        let seconds: CallSeconds =
            Family::new_with_constructor(|| AtomicHistogram::new(SHORT_SECONDS));
        let help = "Calls of modules by outcome: passed, dropped, failed";
        registry.register("waybill_module_calls", help, calls.clone());
        let help = "How long calls of modules took";
        registry.register("waybill_module_call_seconds", help, seconds.clone());
        let version_calls = Family::default();
        let help = "Calls of each version of a module by outcome: passed, dropped, or the reason of a failure";
        registry.register("waybill_module_version_calls", help, version_calls.clone());
        let (kept_back, open_breakers) = (Family::default(), Family::default());
        let help =
            "Events that an open breaker kept from a module, by action: dead_letter, pass, park";
        registry.register("waybill_module_kept_back", help, kept_back.clone());
        let help =
            "Breakers of a module that are open on this node, one for each version that flows run";
        registry.register("waybill_module_open_breakers", help, open_breakers.clone());
        Self { calls, version_calls, kept_back, open_breakers, seconds }
    }

    /// Makes the figures of a version. `key` is the module's name and the number of the version.
    pub fn make_version(&self, key: &str) -> VersionFigures {
        let (name, version) = key.rsplit_once(' ').unwrap_or((key, ""));
        let counter = |code: &'static str| {
            let labels = [
                ("module", name.to_owned()),
                ("version", version.to_owned()),
                ("outcome", code.to_owned()),
            ];
            (code, self.version_calls.get_or_create_owned(&labels))
        };
        VersionFigures {
            calls: CALL_CODES.map(counter),
            seconds: AtomicHistogram::new(SHORT_SECONDS),
            roles: ROLES.map(|role| (role, AtomicHistogram::new(SHORT_SECONDS))),
            peak_memory: AtomicU64::new(0),
        }
    }

    pub fn make(&self, name: &str) -> ModuleFigures {
        let outcome = |outcome: &str| {
            let labels = [("module", name.to_owned()), ("outcome", outcome.to_owned())];
            self.calls.get_or_create_owned(&labels)
        };
        let action = |action: OpenBreakerAction| {
            let labels = [("module", name.to_owned()), ("action", action.as_str().to_owned())];
            self.kept_back.get_or_create_owned(&labels)
        };
        ModuleFigures {
            open_breakers: self.open_breakers.get_or_create_owned(&[("module", name.to_owned())]),
            dead_by_breaker: action(OpenBreakerAction::DeadLetter),
            passed_by_breaker: action(OpenBreakerAction::Pass),
            parked_by_breaker: action(OpenBreakerAction::Park),
            passed: outcome("passed"),
            dropped: outcome("dropped"),
            failed: outcome("failed"),
            seconds: self.seconds.get_or_create_owned(&[("module", name.to_owned())]),
            last_success: AtomicI64::new(NEVER),
            failing_since: AtomicI64::new(NEVER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_counts_by_outcome() {
        let figures = ModuleFamilies::register(&mut Registry::default()).make_version("m 2");
        for code in ["passed", "module_trap", "passed", "no such outcome"] {
            figures.note_call(code, Duration::from_millis(2));
        }
        let outcomes: Vec<_> = figures.outcomes().collect();
        assert_eq!(outcomes, [("passed", 2), ("module_trap", 1)]);
        assert_eq!(figures.times().percentile(95), Some(0.0025));
    }

    #[test]
    fn a_version_counts_the_times_of_its_roles_and_its_largest_memory() {
        let figures = ModuleFamilies::register(&mut Registry::default()).make_version("m 2");
        assert_eq!((figures.role_times().count(), figures.peak_memory()), (0, None));
        for (role, millis) in [("route", 2), ("route", 90), ("filter", 1), ("no such role", 1)] {
            figures.note_role(role, Duration::from_millis(millis));
        }
        for bytes in [70_000, 130_000, 90_000] {
            figures.note_memory(bytes);
        }
        let roles: Vec<_> =
            figures.role_times().map(|(role, times)| (role, times.percentile(99))).collect();
        assert_eq!(roles, [("filter", Some(0.001)), ("route", Some(0.1))]);
        assert_eq!(figures.peak_memory(), Some(130_000));
    }

    #[test]
    fn failing_since_is_the_first_failure_after_the_last_success() {
        let figures = ModuleFamilies::register(&mut Registry::default()).make("m");
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        let note = |outcome, second| figures.note_call(outcome, Duration::ZERO, at(second));
        note(CallOutcome::Failed, 1);
        note(CallOutcome::Dropped, 2);
        note(CallOutcome::Failed, 3);
        note(CallOutcome::Failed, 4);
        let health = figures.read_health();
        assert_eq!((health.calls, health.failed), (4, 3));
        assert_eq!(health.failing_since, Some(at(3)));
        note(CallOutcome::Passed, 5);
        let health = figures.read_health();
        assert_eq!((health.failing_since, health.last_success_at), (None, Some(at(5))));
    }
}
