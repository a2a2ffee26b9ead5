//! The rows of the table, one for each fault.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::faults::FaultKind;
use crate::verdict::Verdict;

/// The sums over all rounds of one fault, or one round.
#[derive(Debug, Clone)]
pub(crate) struct FaultRow {
    pub(crate) fault: FaultKind,
    pub(crate) rounds: usize,
    /// Rounds that could not be played to their end.
    pub(crate) broken: usize,
    pub(crate) verdict: Verdict,
    pub(crate) lost_changes: usize,
    /// Requests that were refused or cut, where the fault promises that none is.
    pub(crate) cut: Option<usize>,
    /// Answers that no fault excuses.
    pub(crate) faults: usize,
    pub(crate) gap: Duration,
}

impl FaultRow {
    /// Creates a row without rounds.
    pub(crate) fn new(fault: FaultKind) -> Self {
        Self {
            fault,
            rounds: 0,
            broken: 0,
            verdict: Verdict::default(),
            lost_changes: 0,
            cut: fault.serves_everyone().then_some(0),
            faults: 0,
            gap: Duration::ZERO,
        }
    }

    /// Adds the rounds of another row.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.broken += other.broken;
        self.lost_changes += other.lost_changes;
        self.faults += other.faults;
        self.gap = self.gap.max(other.gap);
        self.cut = self.cut.zip(other.cut).map(|(one, two)| one + two);
        let (sum, one) = (&mut self.verdict, &other.verdict);
        sum.events += one.events;
        sum.lost += one.lost;
        sum.other_ids += one.other_ids;
        sum.disorder += one.disorder;
        sum.late += one.late;
        sum.miscounted += one.miscounted;
        sum.longest_wait = sum.longest_wait.max(one.longest_wait);
    }

    /// Returns whether every count that must be 0 is 0.
    pub(crate) fn is_clean(&self) -> bool {
        let Verdict { lost, other_ids, disorder, late, miscounted, .. } = &self.verdict;
        let counts = [*lost, *other_ids, *disorder, *late, *miscounted, self.lost_changes];
        let others = [self.broken, self.faults, self.cut.unwrap_or_default()];
        counts.into_iter().chain(others).all(|count| count == 0)
    }

    fn cells(&self) -> [String; 13] {
        let Verdict { events, lost, other_ids, disorder, late, miscounted, longest_wait, .. } =
            &self.verdict;
        let broken =
            if self.broken > 0 { format!(" ({} broken)", self.broken) } else { String::new() };
        [
            self.fault.name().to_owned(),
            format!("{}{broken}", self.rounds),
            events.to_string(),
            lost.to_string(),
            other_ids.to_string(),
            disorder.to_string(),
            late.to_string(),
            miscounted.to_string(),
            self.lost_changes.to_string(),
            self.cut.map_or_else(|| "-".to_owned(), |cut| cut.to_string()),
            self.faults.to_string(),
            self.gap.as_millis().to_string(),
            format!("{:.1}", longest_wait.as_secs_f64()),
        ]
    }
}

/// The titles of the columns. docs/nodes.md explains them.
const TITLES: [&str; 13] = [
    "fault",
    "rounds",
    "events",
    "lost",
    "other id",
    "disorder",
    "late",
    "miscounted",
    "lost changes",
    "cut",
    "bad answers",
    "longest gap ms",
    "takeover s",
];

/// Returns the table.
pub(crate) fn draw(rows: &[FaultRow], markdown: bool) -> String {
    let mut table = Table::new();
    let preset = if markdown { presets::ASCII_MARKDOWN } else { presets::UTF8_BORDERS_ONLY };
    table.load_preset(preset).set_header(TITLES);
    for row in rows {
        table.add_row(row.cells());
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_clean_if_all_its_rounds_are() {
        let mut sum = FaultRow::new(FaultKind::Kill);
        let mut round = FaultRow { rounds: 1, ..FaultRow::new(FaultKind::Kill) };
        sum.add(&round);
        assert!(sum.is_clean());
        round.verdict.late = 1;
        sum.add(&round);
        assert!(!sum.is_clean());
        assert!(draw(&[sum], true).contains("| kill  |      2 |"), "two rounds");
    }

    #[test]
    fn requests_are_cut_only_where_none_may_be() {
        assert_eq!(FaultRow::new(FaultKind::Kill).cut, None);
        let mut upgrade = FaultRow::new(FaultKind::Upgrade);
        let one = FaultRow { cut: Some(1), ..FaultRow::new(FaultKind::Upgrade) };
        upgrade.add(&one);
        assert!(!upgrade.is_clean());
    }
}
