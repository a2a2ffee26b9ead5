//! The change of a row between two scans, and the conditions of rules on it.

use super::row::{CellValue, CrmRow};
use super::rules::ChangeCondition;
use super::tables::CrmTable;

/// The change of a row between two scans.
#[derive(Debug, Clone, Copy)]
pub enum RowChange<'a> {
    New(&'a CrmRow),
    /// The row existed before; its content may have changed.
    Update(&'a CrmRow, &'a CrmRow),
    /// The row has not changed. Only dates may have come.
    Same(&'a CrmRow),
    Gone(&'a CrmRow),
}

impl<'a> RowChange<'a> {
    /// Returns the change from the old state to the new one, or `None` if there is neither.
    pub fn between(old: Option<&'a CrmRow>, new: Option<&'a CrmRow>) -> Option<Self> {
        match (old, new) {
            (None, Some(new)) => Some(Self::New(new)),
            (Some(old), Some(new)) => Some(Self::Update(old, new)),
            (Some(old), None) => Some(Self::Gone(old)),
            (None, None) => None,
        }
    }

    /// Returns the row's present state, or its last state if it was deleted.
    pub fn row(self) -> &'a CrmRow {
        match self {
            Self::New(row) | Self::Update(_, row) | Self::Same(row) | Self::Gone(row) => row,
        }
    }

    /// Returns the old and the new state of a row that existed before.
    pub fn both(self) -> Option<(&'a CrmRow, &'a CrmRow)> {
        match self {
            Self::Update(old, new) => Some((old, new)),
            Self::New(_) | Self::Same(_) | Self::Gone(_) => None,
        }
    }

    /// Returns the old and the new value of a column if they differ. A column that was not read
    /// before has not changed, so that a new column in an upgrade of the CRM does not update every
    /// record.
    fn values(self, column: &str) -> Option<(&'a CellValue, &'a CellValue)> {
        let (old, new) = self.both()?;
        let (old, new) = (old.get(column)?, new.get(column)?);
        (!old.same_as(new)).then_some((old, new))
    }

    /// Whether the column has this value now and did not have it before.
    pub fn becomes(self, column: &str, value: &str) -> bool {
        match self {
            Self::New(row) => row.text(column) == Some(value),
            Self::Update(..) => {
                self.values(column).is_some_and(|(_, new)| new.text() == Some(value))
            }
            Self::Same(_) | Self::Gone(_) => false,
        }
    }

    /// Whether the column has a value now and was empty before.
    fn fills(self, column: &str) -> bool {
        match self {
            Self::New(row) => !row.is_empty(column),
            Self::Update(..) => {
                self.values(column).is_some_and(|(old, new)| old.is_empty() && !new.is_empty())
            }
            Self::Same(_) | Self::Gone(_) => false,
        }
    }

    /// Returns the columns whose content changed, in the order in which they were read. Columns
    /// that never count are left out.
    pub fn columns(self, table: &CrmTable) -> Vec<&'a str> {
        let Some((_, new)) = self.both() else { return Vec::new() };
        let counted = new.columns().map(AsRef::as_ref).filter(|column| table.counts(column));
        counted.filter(|column| self.values(column).is_some()).collect()
    }

    /// Whether the change fulfils a condition. Conditions on dates are judged by [`super::due`].
    pub fn is(self, when: &ChangeCondition, table: &CrmTable) -> bool {
        let turns = |column: &str, test: &dyn Fn(&CellValue, &CellValue) -> bool| {
            self.values(column).is_some_and(|(old, new)| test(old, new))
        };
        match *when {
            ChangeCondition::New(conditions) => {
                matches!(self, Self::New(row) if conditions.iter().all(|c| c.holds(row)))
            }
            ChangeCondition::Gone => matches!(self, Self::Gone(_)),
            ChangeCondition::Updated => {
                self.columns(table).iter().any(|c| !table.ignored.contains(c))
            }
            ChangeCondition::Changed(column) => turns(column, &|_, _| true),
            ChangeCondition::Renewed(column) => turns(column, &|_, new| !new.is_empty()),
            ChangeCondition::Turns(column, from, to) => {
                turns(column, &|old, new| old.text() == Some(from) && new.text() == Some(to))
            }
            ChangeCondition::Leaves(column, value) => {
                turns(column, &|old, _| old.text() == Some(value))
            }
            ChangeCondition::Becomes(column, value) => self.becomes(column, value),
            ChangeCondition::Set(column) => self.fills(column),
            ChangeCondition::SetLater(column) => self.both().is_some() && self.fills(column),
            ChangeCondition::CompletesMilestone => self.completes_in_milestone(),
            ChangeCondition::Due(_) | ChangeCondition::Unanswered => false,
        }
    }

    /// Whether a task of a milestone became complete, or was moved to the milestone when complete.
    fn completes_in_milestone(self) -> bool {
        let row = self.row();
        let is_complete = row.text("status") == Some("5") && !row.is_empty("milestone");
        let moved = self.becomes("status", "5") || self.values("milestone").is_some();
        is_complete && moved && row.text("rel_type") == Some("project")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tables;
    use super::*;

    fn holds(when: ChangeCondition, old: &str, new: &str) -> bool {
        let row =
            |value: &str| [("active", Some(value.to_owned()))].into_iter().collect::<CrmRow>();
        RowChange::Update(&row(old), &row(new)).is(&when, tables::find_table("staff").unwrap())
    }

    #[test]
    fn a_value_is_compared_with_the_one_before() {
        assert!(holds(ChangeCondition::Turns("active", "0", "1"), "0", "1"));
        assert!(!holds(ChangeCondition::Turns("active", "0", "1"), "2", "1"));
        assert!(!holds(ChangeCondition::Turns("active", "0", "1"), "0", "2"));
        assert!(holds(ChangeCondition::Leaves("active", "5"), "5", "1"));
        assert!(!holds(ChangeCondition::Leaves("active", "5"), "1", "5"));
        assert!(
            holds(ChangeCondition::Renewed("active"), "1", "2")
                && !holds(ChangeCondition::Renewed("active"), "1", "0")
        );
        assert!(
            holds(ChangeCondition::Set("active"), "0", "2")
                && !holds(ChangeCondition::Set("active"), "1", "2")
        );
        assert!(!holds(ChangeCondition::Changed("active"), "1", "1"));
    }
}
