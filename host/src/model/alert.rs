//! Alerts: what a rule found about one thing, and what became of it.

use super::alert_rule::{AlertMetric, AlertSeverity};
use super::id::AlertId;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The source that notices come from.
pub const NOTICE_SOURCE: &str = "waybill";
/// The event type of a notice that an alert fires.
pub const FIRING: &str = "waybill.alert.firing";
/// The event type of a notice that an alert is over.
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

/// What an alert is about.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct AlertSubject {
    /// The kind of thing.
    pub kind: SubjectKind,
    /// Its id; of the server `server`.
    pub id: String,
    /// Its name; of the server the folder or what else is meant.
    pub name: String,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The value is at its limit, but not for long enough.
    Pending,
    /// It was there for long enough.
    Firing,
    /// It is over.
    Resolved,
}

/// One value that a rule looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertMeasurement {
    pub metric: AlertMetric,
    pub subject: AlertSubject,
    pub value: i64,
    /// The limit that was learnt, where the rule has none.
    pub learnt: Option<i64>,
    /// What is known beside the value, in a few words.
    pub detail: String,
}

/// What a rule found about one thing. Only the evaluation changes it.
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
    /// Since when the value has been clear, while the alert still fires.
    #[serde(default)]
    pub clear_since: Option<Timestamp>,
    /// When the last notice was made, and of which value.
    #[serde(default)]
    pub notified: Option<(Timestamp, i64)>,
}

/// What people said about an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertReaction {
    pub acknowledged_at: Option<Timestamp>,
    /// The name of the token.
    pub acknowledged_by: Option<String>,
    pub silenced_until: Option<Timestamp>,
}

/// An alert as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlert {
    pub id: AlertId,
    pub finding: AlertFinding,
    pub reaction: AlertReaction,
    /// The notice that the last-resort webhook has yet to get, as JSON.
    pub unsent: Option<String>,
}
