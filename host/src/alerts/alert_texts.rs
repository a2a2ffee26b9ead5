//! Alerts in words: what is wrong, and what to do next.

use crate::model::alert::{AlertFinding, AlertState, SubjectKind};
use crate::model::alert_rule::{AlertMetric, AlertUnit};
use crate::time::span::TimeSpan;
use std::time::Duration;

/// Returns a sentence that says what is wrong.
pub fn tell_alert(finding: &AlertFinding) -> String {
    let name = &finding.subject.name;
    let value = tell_value(finding.metric, finding.value);
    let kind = finding.subject.kind.as_str();
    let told = match finding.metric {
        AlertMetric::DeadLetters => match finding.value {
            0 => format!("{kind} `{name}` has no dead letters left"),
            1 => format!("{kind} `{name}` has a dead letter"),
            _ => format!("{kind} `{name}` has {value} dead letters"),
        },
        AlertMetric::FailureRate => {
            format!("{value} of the attempts at endpoint `{name}` failed in the last 15 minutes")
        }
        AlertMetric::OldestWaiting => {
            format!("the oldest delivery to endpoint `{name}` has waited for {value}")
        }
        AlertMetric::EndpointFailing => {
            format!("endpoint `{name}` has been failing for {value}")
        }
        AlertMetric::SourceSilent => format!("source `{name}` has sent nothing for {value}"),
        AlertMetric::SourceDown => format!("source `{name}` has been down for {value}"),
        AlertMetric::ModuleFailures => {
            format!("the modules of flow `{name}` recently failed on {value} events")
        }
        AlertMetric::ModuleOpen => {
            format!("the breaker of a module of flow `{name}` has been open for {value}")
        }
        AlertMetric::CanaryRolledBack => match finding.value {
            1 => format!("a canary of a module of flow `{name}` was rolled back"),
            _ => format!("{value} canaries of modules of flow `{name}` were rolled back"),
        },
        AlertMetric::DiskFree => format!("{value} of the disk of {name} is free"),
        AlertMetric::CertificateDays => format!("the certificate of {name} ends in {value}"),
    };
    let detail =
        if finding.detail.is_empty() { String::new() } else { format!(" ({})", finding.detail) };
    match finding.state {
        AlertState::Resolved => format!("resolved: {told}{detail}"),
        AlertState::Pending | AlertState::Firing => format!("{told}{detail}"),
    }
}

/// Returns a sentence that says what to do next.
pub fn tell_next_step(finding: &AlertFinding) -> String {
    let name = &finding.subject.name;
    match finding.metric {
        AlertMetric::DeadLetters => {
            let filter = match finding.subject.kind {
                SubjectKind::Endpoint => format!(" --endpoint {name}"),
                SubjectKind::Source => format!(" --source {name}"),
                SubjectKind::Flow | SubjectKind::Server => String::new(),
            };
            format!(
                "Find the cause with `waybill dead-letter list{filter}`, correct it, and replay."
            )
        }
        AlertMetric::FailureRate | AlertMetric::OldestWaiting | AlertMetric::EndpointFailing => {
            format!(
                "Open the endpoint `{name}`, mend its receiver, and send it a test. Waiting \
                 deliveries are retried automatically."
            )
        }
        AlertMetric::SourceSilent => {
            format!("Check that the system behind `{name}` still sends, or set a limit for it.")
        }
        AlertMetric::SourceDown => {
            format!(
                "Correct what the source `{name}` reports, then run `waybill source run {name}`."
            )
        }
        AlertMetric::ModuleFailures => {
            "Open an event of the flow to see the module's error. If a new version is to blame, \
             activate the previous one."
                .to_owned()
        }
        AlertMetric::ModuleOpen => {
            "Open an event of the flow to see the module's error, correct the module, and activate \
             another version. Waiting events then run automatically."
                .to_owned()
        }
        AlertMetric::CanaryRolledBack => {
            "The active version runs all events again. Read the reason with `waybill module trial \
             NAME`, correct the version, and replay its dead letters."
                .to_owned()
        }
        AlertMetric::DiskFree => {
            "Free space, or lower retention.*: a full disk takes no events.".to_owned()
        }
        AlertMetric::CertificateDays => {
            "Renew tls.certificate. The server reloads changed files by itself.".to_owned()
        }
    }
}

/// Returns a value with its unit.
pub fn tell_value(metric: AlertMetric, value: i64) -> String {
    match metric.unit() {
        AlertUnit::Count => value.to_string(),
        AlertUnit::Percent => format!("{value} %"),
        AlertUnit::Seconds => {
            let seconds = Duration::from_secs(value.unsigned_abs());
            TimeSpan::new(seconds).to_string()
        }
        AlertUnit::Days => format!("{value} days"),
    }
}
