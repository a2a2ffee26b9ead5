//! Evaluates all rules once, and stores the findings and the resulting notices in one commit.

use super::AlertContext;
use super::alert_texts::{tell_alert, tell_next_step, tell_value};
use super::measure::{HealthSight, measure_all};
use super::transitions::{HealthChanges, note_transitions};
use crate::ingest::accept::take_notices;
use crate::ingest::incoming::IncomingEvent;
use crate::model::alert::{AlertFinding, AlertState, AlertSubject, NOTICE_SOURCE, StoredAlert};
use crate::model::alert_rule::AlertMetric;
use crate::model::alert_step::{AlertNotice, AlertStep, end_alert, step_alert};
use crate::model::id::AlertId;
use crate::store::{AlertChanges, PutAlert, StoreError};
use crate::time::timestamp::Timestamp;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The rule and the subject that identify an alert.
type AlertKey = (AlertMetric, AlertSubject);

/// What an evaluation wants to store, log and send.
#[derive(Debug, Default)]
struct LookOutcome {
    changes: AlertChanges,
    notices: Vec<IncomingEvent>,
    /// Lines for the log, each with whether it reports a problem.
    lines: Vec<(bool, String)>,
    /// Whether the last-resort webhook also gets the notices.
    has_webhook: bool,
    now: Timestamp,
}

/// Evaluates all rules. With `has_webhook`, the last-resort webhook also gets the notices.
pub async fn evaluate_rules(
    context: &AlertContext,
    has_webhook: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut sight = HealthSight::load(context, now).await?;
    let HealthChanges { kept, forgotten, lines } = note_transitions(context, &mut sight).await?;
    let known = context.journal.list_open_alerts().await?;
    let mut outcome = LookOutcome { lines, has_webhook, now, ..LookOutcome::default() };
    outcome.step_all(context, &sight, known);
    let LookOutcome { changes, notices, lines, .. } = outcome;
    let changes = AlertChanges { at: now, health: kept, forget_health: forgotten, ..changes };
    let taken = take_notices(&context.journal, &sight.settings, notices, changes).await?;
    // Without the duty nothing was stored. The node that has the duty logs the lines.
    for (is_bad, line) in taken.map(|_| lines).unwrap_or_default() {
        if is_bad {
            tracing::warn!("{line}");
        } else {
            tracing::info!("{line}");
        }
    }
    Ok(())
}

impl LookOutcome {
    fn step_all(&mut self, context: &AlertContext, sight: &HealthSight, known: Vec<StoredAlert>) {
        let (rules, remind) = (context.desk.rules(), context.settings.remind.get());
        let key = |alert: &StoredAlert| {
            let finding = &alert.finding;
            (finding.metric, finding.subject.kind, finding.subject.id.clone())
        };
        let mut known: BTreeMap<_, StoredAlert> =
            known.into_iter().map(|alert| (key(&alert), alert)).collect();
        for measured in measure_all(context, sight) {
            let (metric, subject) = (measured.metric, measured.subject.clone());
            let open = known.remove(&(metric, subject.kind, subject.id.clone()));
            let step = step_alert(open.as_ref(), &measured, &rules.rule(metric), remind, self.now);
            self.note_step((metric, subject), open.as_ref(), step);
        }
        // An alert without a measurement: its subject was deleted or paused, or has nothing to
        // measure.
        for alert in known.into_values() {
            let key = (alert.finding.metric, alert.finding.subject.clone());
            let step = end_alert(&alert, self.now);
            self.note_step(key, Some(&alert), step);
        }
    }

    fn note_step(&mut self, key: AlertKey, open: Option<&StoredAlert>, step: AlertStep) {
        let (finding, notice) = match step {
            AlertStep::Nothing => return,
            AlertStep::Forget => {
                self.changes.forget.push(key);
                return;
            }
            AlertStep::Keep { finding, notice } => (finding, notice),
        };
        let is_known = |open: &StoredAlert| !is_worth_storing(&open.finding, &finding);
        if notice.is_none() && open.is_some_and(is_known) {
            return;
        }
        let id = open.map_or_else(AlertId::generate, |open| open.id);
        let unsent = notice.and_then(|notice| self.note_notice(id, &finding, notice));
        self.changes.put.push(PutAlert { id, finding, unsent });
    }

    /// Adds a notice as an event and a log line. Returns the body for the last-resort webhook, if
    /// there is one.
    fn note_notice(
        &mut self,
        id: AlertId,
        finding: &AlertFinding,
        notice: AlertNotice,
    ) -> Option<String> {
        let said = describe_notice(id, finding, notice);
        self.notices.extend(notice_event(finding, &said, notice, self.now));
        let word = notice_word(notice);
        let line = format!("alert {word}: {}", tell_alert(finding));
        self.lines.push((notice != AlertNotice::Resolved, line));
        self.has_webhook.then(|| webhook_notice(id, &said, notice, self.now).to_string())
    }
}

/// Whether a finding differs enough from the stored one to be stored. Ages grow with every
/// evaluation, so an age is stored only after it has grown by a tenth.
fn is_worth_storing(stored: &AlertFinding, found: &AlertFinding) -> bool {
    let value = stored.value;
    let is_near = (found.value - value).abs() <= value.abs() / 10;
    let same = AlertFinding { value, detail: stored.detail.clone(), ..found.clone() };
    !is_near || same != *stored
}

const fn notice_word(notice: AlertNotice) -> &'static str {
    match notice {
        AlertNotice::Firing => "fires",
        AlertNotice::Reminder => "still fires",
        AlertNotice::Resolved => "is resolved",
    }
}

/// Returns the content of a notice. It is the same for endpoints and for the last-resort webhook.
fn describe_notice(id: AlertId, finding: &AlertFinding, notice: AlertNotice) -> Value {
    let is_over = finding.state == AlertState::Resolved;
    json!({
        "alert": id,
        "rule": finding.metric,
        "severity": finding.severity,
        "state": finding.state,
        "reminder": notice == AlertNotice::Reminder,
        "subject": finding.subject,
        "value": finding.value,
        "limit": finding.limit,
        "since": finding.since,
        "summary": tell_alert(finding),
        "shown_value": tell_value(finding.metric, finding.value),
        "shown_limit": tell_value(finding.metric, finding.limit),
        "next_step": (!is_over).then(|| tell_next_step(finding)),
    })
}

fn notice_event(
    finding: &AlertFinding,
    said: &Value,
    notice: AlertNotice,
    now: Timestamp,
) -> Option<IncomingEvent> {
    let data = to_raw_value(said).ok()?;
    Some(IncomingEvent {
        source: Some(NOTICE_SOURCE.to_owned()),
        resource: Some(finding.subject.kind.as_str().to_owned()),
        resource_id: Some(finding.subject.id.clone()),
        data_names_record: false,
        occurred_at: Some(now),
        ..IncomingEvent::new(notice.event_type(), data)
    })
}

/// Returns the body for the last-resort webhook. Its id is made of the alert's id and the time, so
/// a receiver recognises a notice that is sent twice.
fn webhook_notice(id: AlertId, said: &Value, notice: AlertNotice, now: Timestamp) -> Value {
    json!({
        "id": format!("{id}-{}", now.micros()),
        "type": notice.event_type(),
        "timestamp": now,
        "data": said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::SubjectKind;
    use crate::model::alert_rule::AlertSeverity;

    fn finding(value: i64) -> AlertFinding {
        AlertFinding {
            metric: AlertMetric::EndpointFailing,
            subject: AlertSubject {
                kind: SubjectKind::Endpoint,
                id: "end_1".to_owned(),
                name: "erp".to_owned(),
            },
            severity: AlertSeverity::Critical,
            state: AlertState::Firing,
            since: Timestamp::from_micros(0),
            value,
            limit: 600,
            detail: "connection refused; 37 waiting".to_owned(),
            clear_since: None,
            notified: None,
        }
    }

    #[test]
    fn an_age_is_stored_when_it_has_grown_by_a_tenth() {
        assert!(!is_worth_storing(&finding(1_000), &finding(1_090)));
        assert!(is_worth_storing(&finding(1_000), &finding(1_110)));
        let resolved = AlertFinding { state: AlertState::Resolved, ..finding(1_000) };
        assert!(is_worth_storing(&finding(1_000), &resolved));
    }

    #[test]
    fn a_notice_says_what_is_wrong_and_what_to_do() {
        let said = describe_notice(AlertId::generate(), &finding(720), AlertNotice::Firing);
        assert_eq!(
            said["summary"],
            "endpoint `erp` has been failing for 12m (connection refused; 37 waiting)"
        );
        assert!(said["next_step"].as_str().unwrap().contains("send it a test"));
        assert_eq!(said["severity"], "critical");
        let event = notice_event(&finding(720), &said, AlertNotice::Firing, Timestamp::default());
        let event = event.unwrap();
        assert_eq!(event.event_type, "waybill.alert.firing");
        assert_eq!(event.resource_id.as_deref(), Some("end_1"));
    }
}
