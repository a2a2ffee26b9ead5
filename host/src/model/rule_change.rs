//! Changes of the alert rules by the configuration.

use super::alert_rule::{AlertMetric, AlertRule, AlertSeverity, AlertUnit};
use crate::time::span::TimeSpan;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The changes of one rule. A field that is left out keeps its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleChange {
    enabled: Option<bool>,
    limit: Option<RuleLimit>,
    clear: Option<RuleLimit>,
    #[serde(rename = "for")]
    wait: Option<TimeSpan>,
    keep: Option<TimeSpan>,
    severity: Option<AlertSeverity>,
    limits: BTreeMap<String, RuleLimit>,
    except: Vec<String>,
}

/// A limit as it is written: a number, or a duration if the metric is measured in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum RuleLimit {
    Number(i64),
    Span(TimeSpan),
}

impl RuleLimit {
    fn value(self) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Span(span) => i64::try_from(span.get().as_secs()).unwrap_or(i64::MAX),
        }
    }

    const fn fits(self, unit: AlertUnit) -> bool {
        match (self, unit) {
            (Self::Span(_), AlertUnit::Seconds) => true,
            (Self::Number(number), AlertUnit::Percent) => 0 <= number && number <= 100,
            (Self::Number(number), AlertUnit::Count | AlertUnit::Days) => number >= 0,
            (Self::Number(_), AlertUnit::Seconds)
            | (Self::Span(_), AlertUnit::Count | AlertUnit::Percent | AlertUnit::Days) => false,
        }
    }
}

/// The rules with the changes of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertRules(BTreeMap<AlertMetric, RuleChange>);

impl AlertRules {
    /// Changes the rule of a metric. The error says what is wrong with the change.
    pub fn change(&mut self, metric: AlertMetric, change: RuleChange) -> Result<(), String> {
        if change == RuleChange::default() {
            return Err("changes nothing; write for example { enabled = false }".to_owned());
        }
        let given =
            change.limit.into_iter().chain(change.clear).chain(change.limits.values().copied());
        if !given.into_iter().all(|limit| limit.fits(metric.unit())) {
            return Err(match metric.unit() {
                AlertUnit::Seconds => "limits of this rule are durations such as \"10m\"",
                AlertUnit::Percent => "limits of this rule are percentages, 0 to 100",
                AlertUnit::Count => "limits of this rule are numbers, 0 or more",
                AlertUnit::Days => "limits of this rule are days, 0 or more",
            }
            .to_owned());
        }
        self.0.insert(metric, change);
        Ok(())
    }

    /// Returns the rule of a metric.
    pub fn rule(&self, metric: AlertMetric) -> AlertRule {
        let usual = metric.usual_rule();
        let Some(change) = self.0.get(&metric) else { return usual };
        let limit = change.limit.map(RuleLimit::value);
        // The default value for clearing would not fit another limit.
        let usual_clear = if limit.is_some() { None } else { usual.clear };
        AlertRule {
            metric,
            enabled: change.enabled.unwrap_or(usual.enabled),
            limit: limit.or(usual.limit),
            clear: change.clear.map(RuleLimit::value).or(usual_clear),
            wait: change.wait.map_or(usual.wait, TimeSpan::get),
            keep: change.keep.map_or(usual.keep, TimeSpan::get),
            severity: change.severity.unwrap_or(usual.severity),
            limits: change
                .limits
                .iter()
                .map(|(name, limit)| (name.clone(), limit.value()))
                .collect(),
            except: change.except.clone(),
        }
    }

    /// Returns all rules, including disabled ones.
    pub fn list(&self) -> Vec<AlertRule> {
        AlertMetric::ALL.into_iter().map(|metric| self.rule(metric)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(metric: AlertMetric, toml: &str) -> Result<AlertRule, String> {
        let change: RuleChange =
            toml::from_str(toml).map_err(|error| error.message().to_owned())?;
        let mut rules = AlertRules::default();
        rules.change(metric, change)?;
        Ok(rules.rule(metric))
    }

    #[test]
    fn a_rule_fires_at_its_limit_and_clears_beyond_it() {
        let rule = AlertRules::default().rule(AlertMetric::FailureRate);
        assert!(rule.is_reached(50, 50) && !rule.is_reached(49, 50));
        assert!(!rule.is_clear(30, 50), "between clear and limit it goes on");
        assert!(rule.is_clear(20, 50));
        let disk = AlertRules::default().rule(AlertMetric::DiskFree);
        assert!(disk.is_reached(10, 10) && !disk.is_reached(11, 10));
        assert!(!disk.is_clear(11, 10) && disk.is_clear(12, 10));
    }

    #[test]
    fn fields_that_are_left_out_keep_their_defaults() {
        let usual = AlertRules::default().rule(AlertMetric::EndpointFailing);
        let rule = changed(AlertMetric::EndpointFailing, "limits = { erp = '2h' }").unwrap();
        assert_eq!(rule.limit_for("erp", None), Some(7_200));
        assert_eq!(rule.limit_for("crm", None), usual.limit);
        assert_eq!((rule.severity, rule.wait), (usual.severity, usual.wait));
        let silent = AlertRules::default().rule(AlertMetric::SourceSilent);
        assert_eq!(silent.limit_for("crm", Some(5)), Some(5));
        let other = changed(AlertMetric::FailureRate, "limit = 10").unwrap();
        assert!(other.is_clear(9, 10), "the usual clear value does not fit another limit");
    }

    #[test]
    fn limits_have_the_unit_of_their_metric() {
        for (metric, toml, says) in [
            (AlertMetric::DeadLetters, "limit = '1h'", "numbers"),
            (AlertMetric::OldestWaiting, "limit = 5", "durations"),
            (AlertMetric::FailureRate, "limit = 101", "percent"),
            (AlertMetric::DiskFree, "", "changes nothing"),
            (AlertMetric::DiskFree, "limt = 5", "unknown field"),
        ] {
            let wrong = changed(metric, toml).unwrap_err();
            assert!(wrong.contains(says), "{toml}: {wrong}");
        }
    }

    #[test]
    fn metric_names_match_serde() {
        for metric in AlertMetric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.as_str());
            assert_eq!(AlertMetric::named(metric.as_str()), Some(metric));
        }
    }
}
