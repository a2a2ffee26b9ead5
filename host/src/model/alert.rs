//! Alerts: what a rule found about one thing, and the state of that finding.

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

/// The kind of thing that an alert is about.
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
    /// An endpoint.
    Endpoint,
    /// A flow.
    Flow,
    /// A source.
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

/// The thing that an alert is about.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct AlertSubject {
    /// The kind of thing.
    pub kind: SubjectKind,
    /// The id of the thing. For the server it is `server`.
    pub id: String,
    /// The name of the thing. For the server it names the part, such as a folder.
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
    /// The value is clear again, or the rule does not look at the thing any more.
    Resolved,
}

/// A value that was measured for a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertMeasurement {
    pub metric: AlertMetric,
    pub subject: AlertSubject,
    pub value: i64,
    /// The limit that was learnt. It counts if the rule sets none.
    pub learnt: Option<i64>,
    /// Further information about the value, in a few words.
    pub detail: String,
    /// Whether the value may be higher, because not all rows were read. Such a value never resolves
    /// an alert.
    pub is_floor: bool,
}

/// What a rule found about one thing. Only the evaluation of rules changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFinding {
    pub metric: AlertMetric,
    pub subject: AlertSubject,
    pub severity: AlertSeverity,
    pub state: AlertState,
    /// When the value reached its limit, or the alert was resolved.
    pub since: Timestamp,
    pub value: i64,
    pub limit: i64,
    pub detail: String,
    /// Since when the value has been clear while the alert still fires.
    #[serde(default)]
    pub clear_since: Option<Timestamp>,
    /// The time of the last notice, and the value that it reported.
    #[serde(default)]
    pub notified: Option<(Timestamp, i64)>,
}

/// What people did about an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertReaction {
    pub acknowledged_at: Option<Timestamp>,
    /// The name of the token that acknowledged the alert.
    pub acknowledged_by: Option<String>,
    pub silenced_until: Option<Timestamp>,
}

/// A stored alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlert {
    pub id: AlertId,
    pub finding: AlertFinding,
    pub reaction: AlertReaction,
    /// The notice that has still to be sent to the last-resort webhook, as JSON.
    pub unsent: Option<String>,
}
