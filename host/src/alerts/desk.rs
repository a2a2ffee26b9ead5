//! The alerts that this node knows without asking the database.

use crate::model::alert::{AlertState, StoredAlert};
use crate::model::rule_change::AlertRules;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The rules, and the number of firing alerts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AlertDesk {
    rules: Arc<AlertRules>,
    board: Arc<Mutex<AlertBoard>>,
}

/// The number of firing alerts, known only on the node that evaluates them.
#[derive(Debug, Clone, Default)]
pub struct AlertBoard {
    /// Whether this node evaluates the alerts.
    pub is_here: bool,
    firing: BTreeMap<(&'static str, &'static str), u64>,
}

impl AlertBoard {
    /// Returns the rule, the severity and the number of firing alerts.
    pub fn count_firing(&self) -> impl Iterator<Item = ((&'static str, &'static str), u64)> {
        self.firing.iter().map(|(labels, count)| (*labels, *count))
    }
}

impl AlertDesk {
    pub fn new(rules: AlertRules) -> Self {
        Self { rules: Arc::new(rules), board: Arc::default() }
    }

    pub fn rules(&self) -> &AlertRules {
        &self.rules
    }

    fn lock(&self) -> MutexGuard<'_, AlertBoard> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current board.
    pub fn board(&self) -> AlertBoard {
        self.lock().clone()
    }

    /// Empties the board because another node evaluates the alerts.
    pub fn leave_board(&self) {
        *self.lock() = AlertBoard::default();
    }

    /// Records the alerts that this node found.
    pub fn note_board(&self, alerts: &[StoredAlert]) {
        let mut firing = BTreeMap::new();
        for alert in alerts.iter().filter(|alert| alert.finding.state == AlertState::Firing) {
            let labels = (alert.finding.metric.as_str(), alert.finding.severity.as_str());
            *firing.entry(labels).or_default() += 1;
        }
        *self.lock() = AlertBoard { is_here: true, firing };
    }
}
