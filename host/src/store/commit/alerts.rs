//! Writes the findings of the alert rules. The finding, the state of health and the notices as
//! events are one transaction, of the node that has the duty. So each transition causes exactly one
//! notice, even after a crash or a stall.

use crate::model::alert::{AlertFinding, AlertState, AlertSubject};
use crate::model::alert_rule::AlertMetric;
use crate::model::id::AlertId;
use crate::model::subject_health::KeptHealth;
use crate::store::db::{SqlQuery, WriteTransaction};
use crate::store::error::database_error::corrupt_value;
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;

/// The duty to evaluate the alert rules and to send notices.
pub const ALERT_DUTY: &str = "alerts";

/// The changes that follow from one evaluation of the rules.
#[derive(Debug, Default)]
pub struct AlertChanges {
    pub at: Timestamp,
    pub put: Vec<PutAlert>,
    pub forget: Vec<(AlertMetric, AlertSubject)>,
    pub health: Vec<KeptHealth>,
    /// State of health of things that are gone.
    pub forget_health: Vec<KeptHealth>,
}

/// A finding to store.
#[derive(Debug)]
pub struct PutAlert {
    pub id: AlertId,
    pub finding: AlertFinding,
    /// The notice for the last-resort webhook, if one is configured and there is something to say.
    pub unsent: Option<String>,
}

impl AlertChanges {
    /// Returns how many rows this writes.
    pub const fn rows(&self) -> usize {
        self.put.len() + self.forget.len() + self.health.len() + self.forget_health.len()
    }
}

/// Returns the key of a subject in the table.
fn subject_key(subject: &AlertSubject) -> String {
    format!("{} {}", subject.kind.as_str(), subject.id)
}

/// Returns whether this node has the duty, and keeps it until the end of the transaction.
pub async fn holds_duty(
    tx: &mut WriteTransaction<'_>,
    node: i64,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let hold = SqlQuery::new(statements::HOLD_DUTY).bind(ALERT_DUTY).bind(node).bind(at);
    Ok(tx.execute(hold).await? == 1)
}

pub async fn write_alerts(
    tx: &mut WriteTransaction<'_>,
    changes: &AlertChanges,
) -> Result<(), StoreError> {
    for put in &changes.put {
        write_finding(tx, put, changes.at).await?;
    }
    for (metric, subject) in &changes.forget {
        let key = subject_key(subject);
        let forget = SqlQuery::new(statements::FORGET_ALERT).bind(metric.as_str()).bind(&key);
        tx.execute(forget).await?;
    }
    for kept in &changes.health {
        let memory = serde_json::to_string(&kept.memory)
            .map_err(|error| corrupt_value("health", "memory", &error))?;
        let put = SqlQuery::new(statements::PUT_HEALTH)
            .bind(kept.kind.as_str())
            .bind(&kept.subject)
            .bind(&memory);
        tx.execute(put).await?;
    }
    for gone in &changes.forget_health {
        let forget =
            SqlQuery::new(statements::FORGET_HEALTH).bind(gone.kind.as_str()).bind(&gone.subject);
        tx.execute(forget).await?;
    }
    Ok(())
}

async fn write_finding(
    tx: &mut WriteTransaction<'_>,
    put: &PutAlert,
    at: Timestamp,
) -> Result<(), StoreError> {
    let finding = &put.finding;
    let key = subject_key(&finding.subject);
    let text = serde_json::to_string(finding)
        .map_err(|error| corrupt_value("alert", "finding", &error))?;
    let query = SqlQuery::new(statements::PUT_ALERT)
        .bind(put.id)
        .bind(finding.metric.as_str())
        .bind(&key)
        .bind(&text)
        .bind(i16::from(finding.state != AlertState::Resolved))
        .bind(at)
        .bind(put.unsent.as_deref());
    tx.execute(query).await.map(drop)
}
