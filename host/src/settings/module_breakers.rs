//! The breakers of the modules that flows run, on this node.
//!
//! Each version of a module has one breaker, which its flows share. Breakers are in memory only:
//! every node judges by its own calls, and a start closes them. They survive changes of the
//! settings.

use super::ModuleStage;
use crate::metrics::ModuleFigures;
use crate::model::module_breaker::{
    BreakerAdmission, BreakerChange, BreakerLimits, BreakerState, CallReport,
};
use crate::time::timestamp::Timestamp;
use crate::wasm::ModuleFailure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The breaker of one version of a module.
#[derive(Debug)]
pub struct ModuleBreaker {
    module: String,
    version: u32,
    limits: BreakerLimits,
    kept: Mutex<KeptState>,
    /// Informs events that wait for a trial that it ended.
    trials: watch::Sender<()>,
    figures: Arc<ModuleFigures>,
}

#[derive(Debug, Default)]
struct KeptState {
    state: BreakerState,
    last_fault: Option<ModuleFault>,
}

/// A fault of a module.
#[derive(Debug, Clone, Default)]
pub struct ModuleFault {
    /// The reason that a dead letter would have, such as `module_trap`.
    pub reason: &'static str,
    /// The fault in words. It may quote the event, because a module's panic text is part of it.
    pub detail: String,
}

/// The state of a breaker, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSight {
    pub state: BreakerState,
    /// The reason of the last fault. Never its words, which may quote an event.
    pub last_fault: Option<&'static str>,
}

/// A call that the breaker let through. A trial that is dropped without a report ends without an
/// outcome, and the next event is tried.
#[derive(Debug)]
pub struct AdmittedCall<'b> {
    breaker: &'b ModuleBreaker,
    is_trial: bool,
}

/// The decision of a breaker about an event.
#[derive(Debug)]
pub enum BreakerVerdict<'b> {
    Run(AdmittedCall<'b>),
    KeptBack,
}

impl ModuleBreaker {
    pub fn new(
        module: &str,
        version: u32,
        limits: BreakerLimits,
        figures: Arc<ModuleFigures>,
    ) -> Self {
        let (kept, trials) = (Mutex::default(), watch::Sender::new(()));
        Self { module: module.to_owned(), version, limits, kept, trials, figures }
    }

    fn lock(&self) -> MutexGuard<'_, KeptState> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about an event without waiting.
    pub fn admit(&self, now: Timestamp) -> BreakerVerdict<'_> {
        let admission = self.lock().state.admit(now);
        self.judge(admission)
    }

    const fn judge(&self, admission: BreakerAdmission) -> BreakerVerdict<'_> {
        match admission {
            BreakerAdmission::Run => {
                BreakerVerdict::Run(AdmittedCall { breaker: self, is_trial: false })
            }
            BreakerAdmission::Trial => {
                BreakerVerdict::Run(AdmittedCall { breaker: self, is_trial: true })
            }
            BreakerAdmission::TrialUnderWay | BreakerAdmission::Refused { .. } => {
                BreakerVerdict::KeptBack
            }
        }
    }

    /// Decides about an event after the running trial, if there is one.
    pub async fn admit_after_trial(&self, now: impl Fn() -> Timestamp) -> BreakerVerdict<'_> {
        // Subscribed before the first look, so that a trial that ends in between is not missed.
        let mut ended = self.trials.subscribe();
        loop {
            let admission = self.lock().state.admit(now());
            if admission != BreakerAdmission::TrialUnderWay || ended.changed().await.is_err() {
                return self.judge(admission);
            }
        }
    }

    /// Returns whether an event that arrives now would be kept back.
    pub fn holds_back(&self, now: Timestamp) -> bool {
        self.lock().state.holds_back(now)
    }

    /// Returns since when it has been open, if it is.
    pub fn open_since(&self) -> Option<Timestamp> {
        match self.lock().state {
            BreakerState::Open { since, .. } => Some(since),
            BreakerState::Closed { .. } => None,
        }
    }

    pub fn sight(&self) -> BreakerSight {
        let kept = self.lock();
        let last_fault = kept.last_fault.as_ref().map(|fault| fault.reason);
        BreakerSight { state: kept.state, last_fault }
    }

    /// Describes why an event was kept back, for callers who may read events.
    pub fn tell_refusal(&self) -> String {
        let last = self.lock().last_fault.clone().unwrap_or_default();
        self.tell_open(&last.detail)
    }

    /// Describes the open breaker without words of the module.
    pub fn tell_state(&self) -> String {
        self.tell_open(self.sight().last_fault.unwrap_or_default())
    }

    fn tell_open(&self, last: &str) -> String {
        let faults = match self.lock().state {
            BreakerState::Closed { faults } | BreakerState::Open { faults, .. } => faults,
        };
        format!(
            "the breaker of module `{}` version {} is open after {faults} faults in a row; the last one: {last}",
            self.module, self.version
        )
    }

    fn take_report(
        &self,
        is_trial: bool,
        report: CallReport,
        fault: Option<ModuleFault>,
        now: Timestamp,
    ) {
        let change = {
            let mut kept = self.lock();
            if fault.is_some() {
                kept.last_fault = fault;
            }
            kept.state.take_report(is_trial, report, self.limits, now)
        };
        if is_trial {
            self.trials.send_replace(());
        }
        self.note_change(change, now);
    }

    fn note_change(&self, change: BreakerChange, now: Timestamp) {
        let (module, version) = (self.module.as_str(), self.version);
        match change {
            BreakerChange::Unchanged => {}
            BreakerChange::Opened { faults } => {
                self.figures.open_breakers.inc();
                let last = self.sight().last_fault.unwrap_or_default();
                tracing::warn!(
                    module,
                    version,
                    faults,
                    last,
                    "the breaker of a module opened: it does not run until a trial succeeds; correct it and activate another version"
                );
            }
            BreakerChange::OpenedAgain => {
                tracing::debug!(
                    module,
                    version,
                    "the trial of a module failed; its breaker stays open"
                );
            }
            BreakerChange::Closed { since } => {
                self.figures.open_breakers.dec();
                let seconds = now.since(since).as_secs();
                tracing::warn!(
                    module,
                    version,
                    seconds,
                    "the breaker of a module closed: a trial succeeded, and the module runs again"
                );
            }
        }
    }
}

impl Drop for ModuleBreaker {
    fn drop(&mut self) {
        if matches!(self.lock().state, BreakerState::Open { .. }) {
            self.figures.open_breakers.dec();
        }
    }
}

impl AdmittedCall<'_> {
    /// Reports how the call of a module ended. A failure that the module returns is an answer.
    pub fn report_failure(self, failure: Option<&ModuleFailure>, now: Timestamp) {
        let report = match failure {
            Some(
                ModuleFailure::Trap { .. }
                | ModuleFailure::Timeout { .. }
                | ModuleFailure::Memory { .. },
            ) => CallReport::Fault,
            None | Some(ModuleFailure::Output { .. } | ModuleFailure::Declared { .. }) => {
                CallReport::Answer
            }
            Some(ModuleFailure::Host { .. }) => CallReport::Nothing,
        };
        let fault = |failure: &ModuleFailure| ModuleFault {
            reason: failure.reason(),
            detail: failure.to_string(),
        };
        self.report(report, || failure.map(fault).unwrap_or_default(), now);
    }

    /// Reports how the call ended. `fault` is called only for a fault.
    pub fn report(
        mut self,
        report: CallReport,
        fault: impl FnOnce() -> ModuleFault,
        now: Timestamp,
    ) {
        let fault = (report == CallReport::Fault).then(fault);
        // The trial is over, so dropping the call must not end the trial of another event.
        let is_trial = std::mem::take(&mut self.is_trial);
        self.breaker.take_report(is_trial, report, fault, now);
    }
}

impl Drop for AdmittedCall<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.breaker.lock().state.give_trial_up();
            self.breaker.trials.send_replace(());
        }
    }
}

/// The breakers of this node.
#[derive(Debug)]
pub struct BreakerBook {
    limits: BreakerLimits,
    breakers: Mutex<HashMap<(String, u32), Arc<ModuleBreaker>>>,
}

impl BreakerBook {
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, breakers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u32), Arc<ModuleBreaker>>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the breaker of a version, and makes it if need be.
    pub fn open_breaker(
        &self,
        module: &str,
        version: u32,
        figures: &Arc<ModuleFigures>,
    ) -> Arc<ModuleBreaker> {
        let mut breakers = self.lock();
        let made =
            || Arc::new(ModuleBreaker::new(module, version, self.limits, Arc::clone(figures)));
        Arc::clone(breakers.entry((module.to_owned(), version)).or_insert_with(made))
    }

    /// Returns the breaker of a version that flows run.
    pub fn find_breaker(&self, module: &str, version: u32) -> Option<Arc<ModuleBreaker>> {
        self.lock().get(&(module.to_owned(), version)).cloned()
    }

    /// Forgets the breakers of versions that none of these stages runs.
    pub fn keep_used(&self, stages: &[&ModuleStage]) {
        let is_used = |name: &str, version: u32| {
            stages.iter().any(|stage| {
                let runs = stage.module.as_ref().map(|(number, _)| *number);
                stage.settings.name == name && runs == Ok(version)
            })
        };
        self.lock().retain(|(name, version), _| is_used(name, *version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ServerMetrics;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_micros(0);

    /// Returns a breaker that opens at the first fault and is tried immediately.
    fn breaker(metrics: &ServerMetrics) -> ModuleBreaker {
        let limits = BreakerLimits { faults: 1, wait: Duration::ZERO };
        ModuleBreaker::new("m", 1, limits, metrics.find_module("m"))
    }

    fn admitted(verdict: BreakerVerdict<'_>) -> AdmittedCall<'_> {
        match verdict {
            BreakerVerdict::Run(call) => call,
            BreakerVerdict::KeptBack => panic!("the event is kept back"),
        }
    }

    fn trap() -> ModuleFault {
        ModuleFault { reason: "module_trap", detail: "it trapped on jane@example.com".to_owned() }
    }

    fn fail(breaker: &ModuleBreaker) {
        admitted(breaker.admit(NOW)).report(CallReport::Fault, trap, NOW);
    }

    #[test]
    fn the_figures_follow_what_opens_closes_and_is_forgotten() {
        let metrics = ServerMetrics::default();
        let open = || metrics.find_module("m").open_breakers.get();
        let first = breaker(&metrics);
        fail(&first);
        assert_eq!(open(), 1);
        assert!(first.tell_refusal().contains("it trapped on jane@example.com"));
        assert!(first.tell_state().ends_with("the last one: module_trap"));
        assert_eq!(first.sight().last_fault, Some("module_trap"));
        fail(&first);
        assert_eq!(open(), 1);
        admitted(first.admit(NOW)).report(CallReport::Answer, ModuleFault::default, NOW);
        assert_eq!(open(), 0);
        fail(&first);
        drop(first);
        assert_eq!(open(), 0);
    }

    #[test]
    fn a_trial_that_is_dropped_is_given_up() {
        let metrics = ServerMetrics::default();
        let breaker = breaker(&metrics);
        fail(&breaker);
        let trial = admitted(breaker.admit(NOW));
        assert!(matches!(breaker.admit(NOW), BreakerVerdict::KeptBack));
        drop(trial);
        drop(admitted(breaker.admit(NOW)));
    }

    #[tokio::test]
    async fn who_waits_for_a_trial_runs_after_its_success() {
        let metrics = ServerMetrics::default();
        let breaker = breaker(&metrics);
        fail(&breaker);
        let trial = admitted(breaker.admit(NOW));
        let waiting = breaker.admit_after_trial(|| NOW);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        trial.report(CallReport::Answer, ModuleFault::default, NOW);
        assert!(!admitted(waiting.await).is_trial);
    }
}
