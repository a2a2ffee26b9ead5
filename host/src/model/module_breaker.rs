//! The breaker of a module, which stops the module after repeated faults.
//!
//! A breaker is closed while the module works. After a number of faults in a row it opens, and
//! events no longer reach the module. After a wait it is half open and tries one event at a time. A
//! call that ends without a fault closes it; a fault opens it for another wait.
//!
//! A fault is a trap, a call that takes too long, or more memory than the limit. A module that
//! returns a failure works, because it decided about its event.

use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The treatment of a flow's events while the breaker of one of its modules is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpenBreakerAction {
    /// Each event becomes a dead letter immediately, without running the module.
    #[default]
    DeadLetter,
    /// Each event continues without this module. Refused for a module that routes.
    Pass,
    /// The events wait until the breaker is closed.
    Park,
}

impl OpenBreakerAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead_letter",
            Self::Pass => "pass",
            Self::Park => "park",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The limits at which breakers open, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Faults in a row that open a breaker. With 0, no breaker opens.
    pub faults: u32,
    /// Time from a fault to the next trial.
    pub wait: Duration,
}

/// The outcome of a call, as its breaker counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallReport {
    /// The module trapped, or exceeded its time or its memory.
    Fault,
    /// The module answered, possibly with a failure.
    Answer,
    /// The module did not run, or the host is to blame.
    Nothing,
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// The module runs. `faults` is the number of faults since its last answer.
    Closed { faults: u32 },
    /// The module does not run until `retry_at`. From then on the breaker counts as half open.
    Open { faults: u32, since: Timestamp, retry_at: Timestamp, is_tried: bool },
}

/// Whether an event may reach the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerAdmission {
    /// The module runs on it.
    Run,
    /// The module runs on it alone, and its outcome decides.
    Trial,
    /// Another event is being tried.
    TrialUnderWay,
    /// The module does not run before this time.
    Refused { retry_at: Timestamp },
}

/// The change of state after a report, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    Unchanged,
    Opened {
        faults: u32,
    },
    /// The trial failed too.
    OpenedAgain,
    Closed {
        since: Timestamp,
    },
}

impl Default for BreakerState {
    fn default() -> Self {
        Self::Closed { faults: 0 }
    }
}

impl BreakerState {
    /// Decides about an event. A caller that gets [`BreakerAdmission::Trial`] must report its
    /// outcome, or end the trial with [`Self::give_trial_up`].
    pub fn admit(&mut self, now: Timestamp) -> BreakerAdmission {
        match self {
            Self::Closed { .. } => BreakerAdmission::Run,
            Self::Open { retry_at, .. } if now < *retry_at => {
                BreakerAdmission::Refused { retry_at: *retry_at }
            }
            Self::Open { is_tried: true, .. } => BreakerAdmission::TrialUnderWay,
            Self::Open { is_tried, .. } => {
                *is_tried = true;
                BreakerAdmission::Trial
            }
        }
    }

    /// Counts the outcome of a call. While the breaker is open, only the trial counts, because
    /// other calls began before it opened.
    pub fn take_report(
        &mut self,
        is_trial: bool,
        report: CallReport,
        limits: BreakerLimits,
        now: Timestamp,
    ) -> BreakerChange {
        match (*self, report) {
            (Self::Closed { faults }, CallReport::Fault) => {
                let faults = faults.saturating_add(1);
                if limits.faults == 0 || faults < limits.faults {
                    *self = Self::Closed { faults };
                    return BreakerChange::Unchanged;
                }
                let retry_at = now.after(limits.wait);
                *self = Self::Open { faults, since: now, retry_at, is_tried: false };
                BreakerChange::Opened { faults }
            }
            (Self::Closed { .. }, CallReport::Answer) => {
                *self = Self::default();
                BreakerChange::Unchanged
            }
            (Self::Open { faults, since, .. }, CallReport::Fault) if is_trial => {
                let (faults, retry_at) = (faults.saturating_add(1), now.after(limits.wait));
                *self = Self::Open { faults, since, retry_at, is_tried: false };
                BreakerChange::OpenedAgain
            }
            (Self::Open { since, .. }, CallReport::Answer) if is_trial => {
                *self = Self::default();
                BreakerChange::Closed { since }
            }
            (Self::Open { .. }, CallReport::Nothing) if is_trial => {
                self.give_trial_up();
                BreakerChange::Unchanged
            }
            (Self::Closed { .. } | Self::Open { .. }, _) => BreakerChange::Unchanged,
        }
    }

    /// Ends a trial without an outcome. The next event is tried.
    pub const fn give_trial_up(&mut self) {
        if let Self::Open { is_tried, .. } = self {
            *is_tried = false;
        }
    }

    /// Returns whether the module would not run immediately on an event that arrives now.
    pub fn holds_back(&self, now: Timestamp) -> bool {
        match self {
            Self::Closed { .. } => false,
            Self::Open { retry_at, is_tried, .. } => *is_tried || now < *retry_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits { faults: 3, wait: Duration::from_secs(30) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn report(state: &mut BreakerState, report: CallReport, second: i64) -> BreakerChange {
        state.take_report(false, report, LIMITS, at(second))
    }

    /// A breaker that opened at second 3.
    fn opened() -> BreakerState {
        let mut state = BreakerState::default();
        for second in 1..=3 {
            report(&mut state, CallReport::Fault, second);
        }
        state
    }

    #[test]
    fn faults_in_a_row_open_it_and_an_answer_begins_the_row_anew() {
        let mut state = BreakerState::default();
        for (word, faults) in [
            (CallReport::Fault, 1),
            (CallReport::Fault, 2),
            (CallReport::Nothing, 2),
            (CallReport::Answer, 0),
            (CallReport::Fault, 1),
            (CallReport::Fault, 2),
        ] {
            assert_eq!(report(&mut state, word, 1), BreakerChange::Unchanged);
            assert_eq!(state, BreakerState::Closed { faults });
        }
        assert_eq!(report(&mut state, CallReport::Fault, 9), BreakerChange::Opened { faults: 3 });
        assert_eq!(state.admit(at(10)), BreakerAdmission::Refused { retry_at: at(39) });
    }

    #[test]
    fn one_event_at_a_time_is_tried_after_the_wait() {
        let mut state = opened();
        assert!(state.holds_back(at(32)) && !state.holds_back(at(33)));
        assert_eq!(state.admit(at(33)), BreakerAdmission::Trial);
        assert_eq!(state.admit(at(33)), BreakerAdmission::TrialUnderWay);
        assert!(state.holds_back(at(33)));
        state.give_trial_up();
        assert_eq!(state.admit(at(33)), BreakerAdmission::Trial);
        let answer = state.take_report(true, CallReport::Answer, LIMITS, at(34));
        assert_eq!(answer, BreakerChange::Closed { since: at(3) });
        assert_eq!(state.admit(at(34)), BreakerAdmission::Run);
    }

    #[test]
    fn a_trial_that_fails_opens_it_for_another_wait() {
        let mut state = opened();
        assert_eq!(state.admit(at(40)), BreakerAdmission::Trial);
        let fault = state.take_report(true, CallReport::Fault, LIMITS, at(41));
        assert_eq!(fault, BreakerChange::OpenedAgain);
        let since = at(3);
        let open = BreakerState::Open { faults: 4, since, retry_at: at(71), is_tried: false };
        assert_eq!(state, open);
    }

    #[test]
    fn calls_that_began_before_it_opened_change_nothing() {
        let mut state = opened();
        let before = state;
        for word in [CallReport::Answer, CallReport::Fault, CallReport::Nothing] {
            assert_eq!(report(&mut state, word, 5), BreakerChange::Unchanged);
        }
        assert_eq!(state, before);
    }

    #[test]
    fn with_a_limit_of_0_it_never_opens() {
        let (mut state, limits) = (BreakerState::default(), BreakerLimits { faults: 0, ..LIMITS });
        for second in 0..100 {
            state.take_report(false, CallReport::Fault, limits, at(second));
        }
        assert_eq!(state.admit(at(100)), BreakerAdmission::Run);
    }
}
