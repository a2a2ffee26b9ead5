//! Rules of alerts: what is measured, and from when on it is an alert.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: i64 = 3_600;

/// What a rule measures.
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
    /// Dead letters of an endpoint, a flow or a source that nobody has replayed.
    DeadLetters,
    /// Percent of an endpoint's attempts that failed, of its newest deliveries.
    FailureRate,
    /// How long the oldest delivery of an endpoint has waited.
    OldestWaiting,
    /// For how long no attempt at an endpoint has succeeded.
    EndpointFailing,
    /// For how long a source has sent nothing.
    SourceSilent,
    /// For how long a source that Waybill runs has not come to the end of a run.
    SourceDown,
    /// Events of a flow whose modules failed lately.
    ModuleFailures,
    /// Percent of the disk of the data folder that is free.
    DiskFree,
    /// Days until the server's certificate ends.
    CertificateDays,
}

/// How bad an alert is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    /// Wants a look today.
    Warning,
    /// Wants a person now.
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

/// A rule as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRule {
    pub metric: AlertMetric,
    pub enabled: bool,
    /// The value at which it fires, in the metric's unit. A source's silence has none unless one is
    /// set: it is learnt.
    pub limit: Option<i64>,
    /// The value at which it clears; the limit where it is left out.
    pub clear: Option<i64>,
    /// For how long the value must be there before it fires.
    pub wait: Duration,
    /// For how long the value must be clear before it is resolved.
    pub keep: Duration,
    pub severity: AlertSeverity,
    /// Limits of single things, by name.
    pub limits: BTreeMap<String, i64>,
    /// Names that it does not look at.
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
    pub const ALL: [Self; 9] = [
        Self::DeadLetters,
        Self::FailureRate,
        Self::OldestWaiting,
        Self::EndpointFailing,
        Self::SourceSilent,
        Self::SourceDown,
        Self::ModuleFailures,
        Self::DiskFree,
        Self::CertificateDays,
    ];

    /// Its name in the configuration, in the table and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetters => "dead_letters",
            Self::FailureRate => "failure_rate",
            Self::OldestWaiting => "oldest_waiting",
            Self::EndpointFailing => "endpoint_failing",
            Self::SourceSilent => "source_silent",
            Self::SourceDown => "source_down",
            Self::ModuleFailures => "module_failures",
            Self::DiskFree => "disk_free",
            Self::CertificateDays => "certificate_days",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    pub const fn unit(self) -> AlertUnit {
        match self {
            Self::DeadLetters | Self::ModuleFailures => AlertUnit::Count,
            Self::FailureRate | Self::DiskFree => AlertUnit::Percent,
            Self::OldestWaiting | Self::EndpointFailing | Self::SourceSilent | Self::SourceDown => {
                AlertUnit::Seconds
            }
            Self::CertificateDays => AlertUnit::Days,
        }
    }

    /// Whether it fires where the value is at the limit or below.
    pub const fn fires_below(self) -> bool {
        matches!(self, Self::DiskFree | Self::CertificateDays)
    }

    /// The rule where nothing else is set.
    pub const fn usual_rule(self) -> AlertRule {
        let (limit, clear, wait, severity) = match self {
            Self::DeadLetters => (Some(1), None, 5 * MINUTE, AlertSeverity::Warning),
            Self::FailureRate => (Some(50), Some(20), 10 * MINUTE, AlertSeverity::Warning),
            Self::OldestWaiting => (Some(HOUR), None, 5 * MINUTE, AlertSeverity::Warning),
            Self::EndpointFailing => (Some(HOUR / 6), None, 0, AlertSeverity::Critical),
            Self::SourceSilent => (None, None, 0, AlertSeverity::Warning),
            Self::SourceDown => (Some(HOUR / 4), None, 0, AlertSeverity::Critical),
            Self::ModuleFailures => (Some(10), Some(1), 5 * MINUTE, AlertSeverity::Warning),
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
    /// Whether it looks at a thing of this name.
    pub fn looks_at(&self, name: &str) -> bool {
        self.enabled && !self.except.iter().any(|other| other == name)
    }

    /// The limit for a thing of this name: its own, the rule's, or the one that was learnt.
    pub fn limit_for(&self, name: &str, learnt: Option<i64>) -> Option<i64> {
        self.limits.get(name).copied().or(self.limit).or(learnt)
    }

    /// Whether a value is at the limit or beyond.
    pub const fn is_reached(&self, value: i64, limit: i64) -> bool {
        if self.metric.fires_below() { value <= limit } else { value >= limit }
    }

    /// Whether a value is so far from the limit that a firing alert ends. Between the two it goes
    /// on, so that a value that swings around the limit does not fire again and again.
    pub fn is_clear(&self, value: i64, limit: i64) -> bool {
        if self.metric.fires_below() {
            value > limit && self.clear.is_none_or(|clear| value >= clear)
        } else {
            value < limit && self.clear.is_none_or(|clear| value <= clear)
        }
    }
}
