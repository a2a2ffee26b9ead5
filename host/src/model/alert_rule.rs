//! The rules of alerts: the measured values and their limits.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: i64 = 3_600;

/// The value that a rule measures.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertMetric {
    /// Number of dead letters of an endpoint, a flow or a source that nobody has replayed.
    DeadLetters,
    /// Percentage of failed attempts among an endpoint's newest deliveries.
    FailureRate,
    /// Time for which an endpoint's oldest delivery has been waiting.
    OldestWaiting,
    /// Time for which no attempt at an endpoint has succeeded.
    EndpointFailing,
    /// Time for which a source has sent nothing.
    SourceSilent,
    /// Time for which a source that Waybill runs has not completed a run.
    SourceDown,
    /// Number of a flow's recent events whose modules failed.
    ModuleFailures,
    /// Time for which the breaker of one of a flow's modules has been open.
    ModuleOpen,
    /// Number of canaries of a flow's modules that Waybill rolled back in the last 24 hours.
    CanaryRolledBack,
    /// Percentage of free space on the disk of the data folder.
    DiskFree,
    /// Days until the server's certificate expires.
    CertificateDays,
}

/// The urgency of an alert.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    /// Somebody should look at it today.
    Warning,
    /// Somebody must act now.
    Critical,
}

/// The unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertUnit {
    Count,
    Percent,
    Seconds,
    Days,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRule {
    pub metric: AlertMetric,
    pub enabled: bool,
    /// The value at which the rule fires, in the metric's unit. If `None`, the limit is learnt, as
    /// for a source's silence.
    pub limit: Option<i64>,
    /// The value at which the alert clears. If `None`, any value before the limit clears it.
    pub clear: Option<i64>,
    /// Time for which the value must be at its limit before the alert fires.
    pub wait: Duration,
    /// Time for which the value must be clear before the alert is resolved.
    pub keep: Duration,
    pub severity: AlertSeverity,
    /// Limits of single subjects, by name.
    pub limits: BTreeMap<String, i64>,
    /// Names of subjects that the rule ignores.
    pub except: Vec<String>,
}

impl AlertSeverity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertMetric {
    pub const ALL: [Self; 11] = [
        Self::DeadLetters,
        Self::FailureRate,
        Self::OldestWaiting,
        Self::EndpointFailing,
        Self::SourceSilent,
        Self::SourceDown,
        Self::ModuleFailures,
        Self::ModuleOpen,
        Self::CanaryRolledBack,
        Self::DiskFree,
        Self::CertificateDays,
    ];

    /// Returns the name in the configuration, in the table and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetters => "dead_letters",
            Self::FailureRate => "failure_rate",
            Self::OldestWaiting => "oldest_waiting",
            Self::EndpointFailing => "endpoint_failing",
            Self::SourceSilent => "source_silent",
            Self::SourceDown => "source_down",
            Self::ModuleFailures => "module_failures",
            Self::ModuleOpen => "module_open",
            Self::CanaryRolledBack => "canary_rolled_back",
            Self::DiskFree => "disk_free",
            Self::CertificateDays => "certificate_days",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    pub const fn unit(self) -> AlertUnit {
        match self {
            Self::DeadLetters | Self::ModuleFailures | Self::CanaryRolledBack => AlertUnit::Count,
            Self::FailureRate | Self::DiskFree => AlertUnit::Percent,
            Self::OldestWaiting
            | Self::EndpointFailing
            | Self::SourceSilent
            | Self::SourceDown
            | Self::ModuleOpen => AlertUnit::Seconds,
            Self::CertificateDays => AlertUnit::Days,
        }
    }

    /// Whether a value at the limit or below it fires, instead of at the limit or above.
    pub const fn fires_below(self) -> bool {
        matches!(self, Self::DiskFree | Self::CertificateDays)
    }

    /// Returns the default rule of the metric.
    pub const fn usual_rule(self) -> AlertRule {
        let (limit, clear, wait, severity) = match self {
            Self::DeadLetters => (Some(1), None, 5 * MINUTE, AlertSeverity::Warning),
            Self::FailureRate => (Some(50), Some(20), 10 * MINUTE, AlertSeverity::Warning),
            Self::OldestWaiting => (Some(HOUR), None, 5 * MINUTE, AlertSeverity::Warning),
            Self::EndpointFailing => (Some(HOUR / 6), None, 0, AlertSeverity::Critical),
            Self::SourceSilent => (None, None, 0, AlertSeverity::Warning),
            Self::SourceDown => (Some(HOUR / 4), None, 0, AlertSeverity::Critical),
            Self::ModuleFailures => (Some(10), Some(1), 5 * MINUTE, AlertSeverity::Warning),
            Self::ModuleOpen => (Some(60), None, 0, AlertSeverity::Critical),
            Self::CanaryRolledBack => (Some(1), None, 0, AlertSeverity::Warning),
            Self::DiskFree => (Some(10), Some(12), MINUTE, AlertSeverity::Critical),
            Self::CertificateDays => (Some(14), None, 0, AlertSeverity::Warning),
        };
        let keep = match self {
            Self::FailureRate | Self::ModuleFailures => Duration::from_mins(5),
            Self::DeadLetters
            | Self::OldestWaiting
            | Self::EndpointFailing
            | Self::SourceSilent
            | Self::SourceDown
            | Self::ModuleOpen
            | Self::CanaryRolledBack
            | Self::DiskFree
            | Self::CertificateDays => Duration::ZERO,
        };
        AlertRule {
            metric: self,
            enabled: true,
            limit,
            clear,
            wait: Duration::from_secs(wait),
            keep,
            severity,
            limits: BTreeMap::new(),
            except: Vec::new(),
        }
    }
}

impl AlertRule {
    /// Whether the rule covers a subject with this name.
    pub fn looks_at(&self, name: &str) -> bool {
        self.enabled && !self.except.iter().any(|other| other == name)
    }

    /// Returns the limit for a subject: its own, or the rule's, or the learnt one.
    pub fn limit_for(&self, name: &str, learnt: Option<i64>) -> Option<i64> {
        self.limits.get(name).copied().or(self.limit).or(learnt)
    }

    /// Whether a value is at or beyond the limit.
    pub const fn is_reached(&self, value: i64, limit: i64) -> bool {
        if self.metric.fires_below() { value <= limit } else { value >= limit }
    }

    /// Whether a value is far enough from the limit to end a firing alert. Between that value and
    /// the limit the alert stays, so that a value that oscillates around the limit does not fire
    /// repeatedly.
    pub fn is_clear(&self, value: i64, limit: i64) -> bool {
        if self.metric.fires_below() {
            value > limit && self.clear.is_none_or(|clear| value >= clear)
        } else {
            value < limit && self.clear.is_none_or(|clear| value <= clear)
        }
    }
}
