//! Decides the effect of a measured value on an alert: begin, fire, remind or end.

use super::alert::{AlertFinding, AlertMeasurement, AlertState, FIRING, RESOLVED, StoredAlert};
use super::alert_rule::{AlertRule, AlertUnit};
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// The factor by which a count must have grown since the last notice to send the next one early.
const MUCH_WORSE: i64 = 10;

/// The result of a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertStep {
    /// Nothing changes.
    Nothing,
    /// The finding is stored, and the notice is sent if there is one.
    Keep { finding: AlertFinding, notice: Option<AlertNotice> },
    /// The row is deleted, because a pending alert is over.
    Forget,
}

/// The kind of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertNotice {
    Firing,
    /// The alert still fires.
    Reminder,
    Resolved,
}

impl AlertNotice {
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Firing | Self::Reminder => FIRING,
            Self::Resolved => RESOLVED,
        }
    }
}

/// Decides what a value does to an alert. This function is pure, so a test can drive it through
/// hours.
pub fn step_alert(
    known: Option<&StoredAlert>,
    measured: &AlertMeasurement,
    rule: &AlertRule,
    remind: Duration,
    now: Timestamp,
) -> AlertStep {
    let open = known.filter(|alert| alert.finding.state != AlertState::Resolved);
    let limit = rule.limit_for(&measured.subject.name, measured.learnt);
    let Some(limit) = limit.filter(|_| rule.looks_at(&measured.subject.name)) else {
        return open.map_or(AlertStep::Nothing, |alert| end_alert(alert, now));
    };
    let is_reached = rule.is_reached(measured.value, limit);
    let Some(open) = open else {
        if !is_reached {
            return AlertStep::Nothing;
        }
        return go_on(begin_alert(measured, rule, limit, now), None, rule, remind, now);
    };
    if measured.is_floor && !is_reached {
        return keep_open(open, rule, remind, now);
    }
    let mut finding = AlertFinding {
        value: measured.value,
        limit,
        detail: measured.detail.clone(),
        subject: measured.subject.clone(),
        severity: rule.severity,
        ..open.finding.clone()
    };
    if is_reached || !rule.is_clear(measured.value, limit) {
        if !is_reached && finding.state == AlertState::Pending {
            return AlertStep::Forget;
        }
        finding.clear_since = None;
        return go_on(finding, Some(open), rule, remind, now);
    }
    let clear_since = *finding.clear_since.get_or_insert(now);
    if finding.state == AlertState::Pending || now.since(clear_since) >= rule.keep {
        return end_alert(&StoredAlert { finding, ..open.clone() }, now);
    }
    AlertStep::Keep { finding, notice: None }
}

/// Keeps an open alert if too little is known about its value. Only reminders continue.
fn keep_open(open: &StoredAlert, rule: &AlertRule, remind: Duration, now: Timestamp) -> AlertStep {
    if open.finding.state == AlertState::Pending {
        return AlertStep::Nothing;
    }
    let finding = AlertFinding { clear_since: None, ..open.finding.clone() };
    go_on(finding, Some(open), rule, remind, now)
}

fn begin_alert(
    measured: &AlertMeasurement,
    rule: &AlertRule,
    limit: i64,
    now: Timestamp,
) -> AlertFinding {
    AlertFinding {
        metric: measured.metric,
        subject: measured.subject.clone(),
        severity: rule.severity,
        state: AlertState::Pending,
        since: now,
        value: measured.value,
        limit,
        detail: measured.detail.clone(),
        clear_since: None,
        notified: None,
    }
}

/// Continues an alert with a value at its limit. It fires after the rule's wait, and sends a notice
/// unless it is silenced, acknowledged or recently reported.
fn go_on(
    mut finding: AlertFinding,
    known: Option<&StoredAlert>,
    rule: &AlertRule,
    remind: Duration,
    now: Timestamp,
) -> AlertStep {
    if finding.state == AlertState::Pending {
        if now.since(finding.since) < rule.wait {
            return AlertStep::Keep { finding, notice: None };
        }
        finding.state = AlertState::Firing;
    }
    let reaction = known.map(|alert| alert.reaction.clone()).unwrap_or_default();
    let is_silenced = reaction.silenced_until.is_some_and(|until| until > now);
    let notice = match finding.notified {
        _ if is_silenced => None,
        None => Some(AlertNotice::Firing),
        Some(_) if reaction.acknowledged_at.is_some() => None,
        Some((at, value)) => {
            let is_due = !remind.is_zero() && now.since(at) >= remind;
            let is_much_worse = !finding.metric.fires_below()
                && finding.metric.unit() == AlertUnit::Count
                && finding.value >= value.saturating_mul(MUCH_WORSE);
            (is_due || is_much_worse).then_some(AlertNotice::Reminder)
        }
    };
    if notice.is_some() {
        finding.notified = Some((now, finding.value));
    }
    AlertStep::Keep { finding, notice }
}

/// Ends an open alert, because its value is clear, its subject no longer exists, or the rule no
/// longer covers the subject. If a notice said that the alert fires, another says that it is over.
pub fn end_alert(known: &StoredAlert, now: Timestamp) -> AlertStep {
    if known.finding.state != AlertState::Firing {
        return AlertStep::Forget;
    }
    let notice = known.finding.notified.map(|_| AlertNotice::Resolved);
    let finding = AlertFinding {
        state: AlertState::Resolved,
        since: now,
        clear_since: None,
        ..known.finding.clone()
    };
    AlertStep::Keep { finding, notice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::{AlertSubject, SubjectKind};
    use crate::model::alert_rule::AlertMetric;
    use crate::model::id::AlertId;
    use crate::model::rule_change::AlertRules;

    const DAY: Duration = Duration::from_hours(24);

    fn minute(minute: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_mins(minute))
    }

    /// Applies a value to an alert, stores the result and returns the notice.
    struct AlertCourse {
        rule: AlertRule,
        known: Option<StoredAlert>,
        is_floor: bool,
    }

    impl AlertCourse {
        fn of(metric: AlertMetric) -> Self {
            Self { rule: AlertRules::default().rule(metric), known: None, is_floor: false }
        }

        fn step(&mut self, value: i64, at: u64) -> Option<AlertNotice> {
            let subject = AlertSubject {
                kind: SubjectKind::Endpoint,
                id: "end_1".to_owned(),
                name: "erp".to_owned(),
            };
            let metric = self.rule.metric;
            let detail = "refused".to_owned();
            let is_floor = self.is_floor;
            let measured =
                AlertMeasurement { metric, subject, value, learnt: None, detail, is_floor };
            match step_alert(self.known.as_ref(), &measured, &self.rule, DAY, minute(at)) {
                AlertStep::Nothing => None,
                AlertStep::Forget => {
                    self.known = None;
                    None
                }
                AlertStep::Keep { finding, notice } => {
                    let reaction = self.known.take().map(|alert| alert.reaction);
                    let reaction = reaction.unwrap_or_default();
                    let id = AlertId::generate();
                    self.known = Some(StoredAlert { id, finding, reaction, unsent: None });
                    notice
                }
            }
        }

        fn state(&self) -> Option<AlertState> {
            self.known.as_ref().map(|alert| alert.finding.state)
        }
    }

    #[test]
    fn one_transition_is_one_notice() {
        let mut course = AlertCourse::of(AlertMetric::FailureRate);
        assert_eq!(course.step(80, 0), None);
        assert_eq!(course.state(), Some(AlertState::Pending));
        assert_eq!(course.step(80, 9), None);
        assert_eq!(course.step(80, 10), Some(AlertNotice::Firing));
        assert_eq!(course.step(90, 11), None);
        assert_eq!(course.step(10, 12), None, "it has to be clear for five minutes");
        assert_eq!(course.step(10, 17), Some(AlertNotice::Resolved));
        assert_eq!(course.step(10, 18), None);
        assert_eq!(course.state(), Some(AlertState::Resolved));
    }

    #[test]
    fn a_value_that_swings_around_its_limit_fires_once() {
        let mut course = AlertCourse::of(AlertMetric::FailureRate);
        course.step(60, 0);
        let told: Vec<_> =
            (10..100).filter_map(|at| course.step(if at % 2 == 0 { 60 } else { 40 }, at)).collect();
        assert_eq!(told, [AlertNotice::Firing]);
    }

    #[test]
    fn an_alert_that_ends_while_pending_is_forgotten() {
        let mut course = AlertCourse::of(AlertMetric::DeadLetters);
        course.step(3, 0);
        assert_eq!(course.step(0, 4), None);
        assert_eq!(course.state(), None);
        course.step(3, 5);
        assert_eq!(course.step(3, 9), None, "it begins anew");
    }

    #[test]
    fn reminders_come_daily_until_somebody_acknowledges() {
        let mut course = AlertCourse::of(AlertMetric::EndpointFailing);
        assert_eq!(course.step(601, 0), Some(AlertNotice::Firing));
        assert_eq!(course.step(700, 1_439), None);
        assert_eq!(course.step(700, 1_440), Some(AlertNotice::Reminder));
        course.known.as_mut().unwrap().reaction.acknowledged_at = Some(minute(1_441));
        assert_eq!(course.step(700, 5_000), None);
        assert_eq!(course.step(0, 5_001), Some(AlertNotice::Resolved));
    }

    #[test]
    fn a_silenced_alert_is_reported_when_the_silence_ends() {
        let mut course = AlertCourse::of(AlertMetric::EndpointFailing);
        course.step(601, 0);
        let mut again = AlertCourse::of(AlertMetric::EndpointFailing);
        again.rule.wait = Duration::from_mins(5);
        again.step(601, 0);
        again.known.as_mut().unwrap().reaction.silenced_until = Some(minute(60));
        assert_eq!(again.step(700, 10), None);
        assert_eq!(again.state(), Some(AlertState::Firing));
        assert_eq!(again.step(700, 60), Some(AlertNotice::Firing));
        let mut never = AlertCourse::of(AlertMetric::EndpointFailing);
        never.rule.wait = Duration::from_mins(5);
        never.step(601, 0);
        never.known.as_mut().unwrap().reaction.silenced_until = Some(minute(60));
        never.step(700, 10);
        assert_eq!(never.step(0, 20), None, "nobody was told that it fires");
    }

    #[test]
    fn a_tenfold_count_is_reported_at_once() {
        let mut course = AlertCourse::of(AlertMetric::DeadLetters);
        course.step(2, 0);
        assert_eq!(course.step(2, 5), Some(AlertNotice::Firing));
        assert_eq!(course.step(19, 6), None);
        assert_eq!(course.step(20, 7), Some(AlertNotice::Reminder));
    }

    #[test]
    fn a_value_of_a_full_window_resolves_nothing() {
        let mut course = AlertCourse::of(AlertMetric::DeadLetters);
        course.step(3, 0);
        course.is_floor = true;
        assert_eq!(course.step(0, 1), None);
        assert_eq!(course.state(), Some(AlertState::Pending));
        assert_eq!(course.step(3, 5), Some(AlertNotice::Firing));
        assert_eq!(course.step(0, 60), None);
        assert_eq!(course.step(0, 1_445), Some(AlertNotice::Reminder));
        assert_eq!(course.state(), Some(AlertState::Firing));
        course.is_floor = false;
        assert_eq!(course.step(0, 1_446), Some(AlertNotice::Resolved));
    }

    #[test]
    fn a_rule_that_is_switched_off_resolves_what_fires() {
        let mut course = AlertCourse::of(AlertMetric::EndpointFailing);
        course.step(601, 0);
        course.rule.enabled = false;
        assert_eq!(course.step(900, 1), Some(AlertNotice::Resolved));
    }
}
