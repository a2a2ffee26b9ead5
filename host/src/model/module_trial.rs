//! The trial of a module's version on live events: as a shadow without effect, or as a canary for a
//! share of the records.

use super::id::FlowId;
use crate::crypto::digest::ShortDigest;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// How a version is tried. In JSON: `shadow` and `canary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrialMode {
    /// It runs after the active version, without effect, and the results are compared.
    Shadow,
    /// It runs instead of the active version, for a share of the records.
    Canary,
}

impl TrialMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }
}

/// The limits of a canary. If it exceeds them, and fails more often than the active version, it is
/// rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryLimits {
    /// Highest share of failed calls, in percent.
    pub max_failure_rate: u32,
    /// Number of calls from which the share is judged.
    pub min_calls: u32,
}

impl Default for CanaryLimits {
    fn default() -> Self {
        Self { max_failure_rate: 5, min_calls: 50 }
    }
}

/// The end of a trial that did not end by an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialEnd {
    pub at: Timestamp,
    /// The reason, in words without content of events.
    pub why: String,
    /// Whether Waybill ended it, because a canary was beyond its limits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_automatic: bool,
}

/// The trial of a version. A module has one at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleTrial {
    pub mode: TrialMode,
    /// Number of the trial: when it began, in microseconds since 1970. Stays the same when the
    /// share or the limits change.
    pub run: i64,
    /// Share of the events (shadow) or records (canary), in percent.
    pub share: u32,
    pub limits: CanaryLimits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<TrialEnd>,
}

/// Returns the place of a key among the hundred parts of a flow's keys, 0 to 99. It is the same on
/// all nodes and after every start, and a larger share contains all keys of a smaller one.
fn place_key(flow: FlowId, key: &str) -> u32 {
    let digest = ShortDigest::of([flow.uuid().as_bytes().as_slice(), key.as_bytes()]);
    let start = digest.bytes().first_chunk().copied().unwrap_or_default();
    u32::try_from(u64::from_be_bytes(start) % 100).unwrap_or_default()
}

impl ModuleTrial {
    pub const fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// Returns why Waybill ended it after a time, if it did.
    pub fn automatic_end(&self, after: Timestamp) -> Option<&str> {
        let ended = self.ended.as_ref().filter(|end| end.is_automatic && end.at > after);
        ended.map(|end| end.why.as_str())
    }

    /// Returns when the trial began.
    pub const fn started_at(&self) -> Timestamp {
        Timestamp::from_micros(self.run)
    }

    /// Returns whether a key belongs to the share: of a record for a canary, of an event for a
    /// shadow.
    pub fn takes_key(&self, flow: FlowId, key: &str) -> bool {
        self.share >= 100 || place_key(flow, key) < self.share
    }

    /// Returns why a canary with these counts must be rolled back, or `None` if it may go on.
    pub fn judge_counts(&self, counts: &TrialCounts) -> Option<String> {
        let CanaryLimits { max_failure_rate, min_calls } = self.limits;
        let [calls, failed, active_calls, active_failed] = [
            TrialCount::TrialCalls,
            TrialCount::TrialFailed,
            TrialCount::ActiveCalls,
            TrialCount::ActiveFailed,
        ]
        .map(|count| u128::from(counts.get(count)));
        let is_above = failed * 100 > u128::from(max_failure_rate) * calls;
        let is_worse = active_calls == 0 || failed * active_calls > active_failed * calls;
        if calls < u128::from(min_calls) || !is_above || !is_worse {
            return None;
        }
        Some(format!(
            "{failed} of its {calls} calls failed, which is more than {max_failure_rate} %; of the active version \
             {active_failed} of {active_calls}"
        ))
    }
}

macro_rules! trial_counts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A number that is counted in a trial.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum TrialCount { $($(#[$doc])* $variant,)* }

        impl TrialCount {
            /// All numbers, in the order of their cells.
            pub const ALL: [Self; TRIAL_COUNTS] = [$(Self::$variant),*];

            /// Returns the name in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

/// How many numbers are counted in a trial.
pub const TRIAL_COUNTS: usize = 13;

trial_counts! {
    /// Calls of the active version while the trial ran.
    ActiveCalls = "active_calls";
    ActiveFailed = "active_failed";
    /// Run time, in microseconds.
    ActiveMicros = "active_us";
    TrialCalls = "trial_calls";
    TrialFailed = "trial_failed";
    TrialMicros = "trial_us";
    Same = "same";
    Changed = "changed";
    NewlyDropped = "newly_dropped";
    NewlyFailing = "newly_failing";
    NoLongerFailing = "no_longer_failing";
    /// Comparisons that lack a recorded answer to a request.
    NotRecorded = "not_recorded";
    /// Events for which there was no room in the queue.
    LeftOut = "left_out";
}

/// The numbers of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialCounts([u64; TRIAL_COUNTS]);

impl TrialCounts {
    pub fn get(&self, count: TrialCount) -> u64 {
        self.0.get(count as usize).copied().unwrap_or_default()
    }

    pub fn add(&mut self, count: TrialCount, more: u64) {
        if let Some(cell) = self.0.get_mut(count as usize) {
            *cell = cell.saturating_add(more);
        }
    }

    /// Adds to the number with this name in the table. Ignores a name of another version.
    pub fn add_named(&mut self, name: &str, more: u64) {
        if let Some(count) = TrialCount::ALL.into_iter().find(|count| count.name() == name) {
            self.add(count, more);
        }
    }

    /// Returns the numbers that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (TrialCount, u64)> {
        let counts = TrialCount::ALL.into_iter().map(move |count| (count, self.get(count)));
        counts.filter(|(_, value)| *value > 0)
    }

    /// Returns the sum of two sets of numbers.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (count, value) in other.iter() {
            self.add(count, value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(share: u32) -> ModuleTrial {
        let limits = CanaryLimits { max_failure_rate: 10, min_calls: 20 };
        ModuleTrial { mode: TrialMode::Canary, run: 7, share, limits, ended: None }
    }

    fn counted(calls: u64, failed: u64, active_calls: u64, active_failed: u64) -> TrialCounts {
        let mut counts = TrialCounts::default();
        counts.add(TrialCount::TrialCalls, calls);
        counts.add(TrialCount::TrialFailed, failed);
        counts.add(TrialCount::ActiveCalls, active_calls);
        counts.add(TrialCount::ActiveFailed, active_failed);
        counts
    }

    #[test]
    fn a_larger_share_contains_the_smaller_one() {
        let flow = FlowId::generate();
        let taken = |share: u32| -> Vec<u32> {
            let trial = canary(share);
            (0..2_000).filter(|n| trial.takes_key(flow, &n.to_string())).collect()
        };
        let [ten, thirty, all] = [10, 30, 100].map(taken);
        assert!((130..270).contains(&ten.len()), "{}", ten.len());
        assert!((500..700).contains(&thirty.len()), "{}", thirty.len());
        assert!(ten.iter().all(|key| thirty.contains(key)));
        assert_eq!(all.len(), 2_000);
        assert_eq!(ten, taken(10), "a key keeps its place");
    }

    #[test]
    fn a_canary_is_judged_from_its_least_calls_on_and_against_the_active_version() {
        let judge = |counts| canary(10).judge_counts(&counts);
        assert_eq!(judge(counted(19, 19, 100, 0)), None, "too few calls");
        assert_eq!(judge(counted(20, 2, 100, 0)), None, "at its limit");
        assert_eq!(judge(counted(20, 10, 100, 50)), None, "no worse than the active version");
        let why = judge(counted(20, 10, 100, 49)).unwrap();
        assert!(why.contains("10 of its 20 calls") && why.contains("49 of 100"), "{why}");
        assert!(judge(counted(20, 3, 0, 0)).is_some(), "nothing to compare with");
    }

    #[test]
    fn an_automatic_end_is_told_for_a_while() {
        let end = |is_automatic| {
            let at = Timestamp::from_micros(10);
            Some(TrialEnd { at, why: "2 of its 20 calls failed".to_owned(), is_automatic })
        };
        let told = |ended, after| {
            let trial = ModuleTrial { ended, ..canary(10) };
            trial.automatic_end(Timestamp::from_micros(after)).is_some()
        };
        assert!(told(end(true), 9));
        assert!(!told(end(true), 10) && !told(end(false), 9) && !told(None, 9));
        let stored: TrialEnd =
            serde_json::from_str(r#"{"at":"2026-01-01T00:00:00Z","why":"x"}"#).unwrap();
        assert!(!stored.is_automatic, "as earlier servers stored it");
    }

    #[test]
    fn counts_have_their_own_cells_and_names() {
        let mut counts = TrialCounts::default();
        for (n, count) in TrialCount::ALL.into_iter().enumerate() {
            counts.add_named(count.name(), n as u64 + 1);
        }
        counts.add_named("of a newer version", 5);
        let values: Vec<u64> = counts.iter().map(|(_, value)| value).collect();
        assert_eq!(values, (1..=TRIAL_COUNTS as u64).collect::<Vec<_>>());
        assert_eq!(counts.plus(&counts).get(TrialCount::LeftOut), 2 * TRIAL_COUNTS as u64);
    }
}
