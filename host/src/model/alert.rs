//! Alerts: a rule's finding about one subject, and its state.

use super::alert_rule::{AlertMetric, AlertSeverity};
use super::id::AlertId;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The source of the events that carry notices.
pub const NOTICE_SOURCE: &str = "waybill";
/// The event type of a notice that an alert has begun to fire.
pub const FIRING: &str = "waybill.alert.firing";
/// The event type of a notice that an alert is resolved.
pub const RESOLVED: &str = "waybill.alert.resolved";

/// The kind of an alert's subject.
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
pub enum SubjectKind {
    Endpoint,
    Flow,
    Source,
    /// The server or its machine.
    Server,
}

impl SubjectKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Flow => "flow",
            Self::Source => "source",
            Self::Server => "server",
        }
    }
}

/// The subject of an alert: an endpoint, a flow, a source or the server.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct AlertSubject {
    /// Kind of the subject.
    pub kind: SubjectKind,
    /// Id of the subject. For the server it is `server`.
    pub id: String,
    /// Name of the subject. For the server it names the part, such as a folder.
    pub name: String,
}

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The value has reached its limit, but not for long enough.
    Pending,
    /// The value has been at or beyond its limit for long enough.
    Firing,
    /// The value is clear again, or the rule no longer covers the subject.
    Resolved,
}

/// The measured value of a rule for one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertMeasurement {
    pub metric: AlertMetric,
    pub subject: AlertSubject,
    pub value: i64,
    /// The learnt limit. It applies if the rule sets none.
    pub learnt: Option<i64>,
    /// Further information about the value, in a few words.
    pub detail: String,
    /// Whether the value may be higher, because not all rows were read. Such a value never resolves
    /// an alert.
    pub is_floor: bool,
}

/// A rule's finding about one subject. Only the evaluation of rules changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFinding {
    pub metric: AlertMetric,
    pub subject: AlertSubject,
    pub severity: AlertSeverity,
    pub state: AlertState,
    /// Time at which the value reached its limit or the alert was resolved.
    pub since: Timestamp,
    pub value: i64,
    pub limit: i64,
    pub detail: String,
    /// Time since which the value has been clear while the alert still fires.
    #[serde(default)]
    pub clear_since: Option<Timestamp>,
    /// The time of the last notice, and the value that it reported.
    #[serde(default)]
    pub notified: Option<(Timestamp, i64)>,
}

/// The reactions of people to an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertReaction {
    pub acknowledged_at: Option<Timestamp>,
    /// Name of the token that acknowledged the alert.
    pub acknowledged_by: Option<String>,
    pub silenced_until: Option<Timestamp>,
}

/// A stored alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlert {
    pub id: AlertId,
    pub finding: AlertFinding,
    pub reaction: AlertReaction,
    /// The notice that still has to go to the last-resort webhook, as JSON.
    pub unsent: Option<String>,
}
