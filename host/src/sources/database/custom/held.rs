//! Rows whose events must come after the deletions, because they may take the place of deleted
//! rows.

use super::super::super::rows::SourceRow;
use super::moves;
use super::table::ReadableTable;
use crate::model::event::EventChanges;
use crate::store::KeptRow;

/// Most rows that wait until the deletions are known.
const HELD: usize = 100_000;

/// What happened to a row.
#[derive(Debug)]
pub enum RowNews<'a> {
    /// The row is new.
    Came,
    /// The row has other values. The changes are known if the old content is stored.
    Changed(&'a KeptRow, Option<EventChanges>),
    /// Only the key was stored, or the row has the same values, perhaps written differently.
    Nothing(&'a KeptRow),
}

/// Rows whose events have to wait until the deletions are captured: new rows, and rows that may
/// have taken over a unique value. A copy of the table would refuse such a row as long as it still
/// has the row that had the value before.
#[derive(Debug, Default)]
pub struct HeldRows {
    /// Whether rows have to wait at all. At the first run nothing can have been deleted.
    holds: bool,
    /// Ids of rows whose value in a unique index changed, in the order of the keys.
    pub moved: Vec<String>,
    /// Ids of new rows, in the order of the keys.
    pub came: Vec<String>,
}

impl HeldRows {
    /// Returns an empty list.
    pub fn new(holds: bool) -> Self {
        Self { holds, ..Self::default() }
    }

    /// Whether a row has to wait. If so, adds it.
    pub fn keeps_back(
        &mut self,
        table: &ReadableTable,
        row: &SourceRow,
        news: &RowNews<'_>,
    ) -> bool {
        let ids = match news {
            RowNews::Came => &mut self.came,
            RowNews::Changed(_, Some(changes)) if moves::is_move(table, &changes.changed) => {
                &mut self.moved
            }
            RowNews::Changed(..) | RowNews::Nothing(_) => return false,
        };
        if self.holds {
            ids.push(row.id.clone());
        }
        self.holds
    }

    pub fn is_full(&self) -> bool {
        self.moved.len() + self.came.len() >= HELD
    }
}
