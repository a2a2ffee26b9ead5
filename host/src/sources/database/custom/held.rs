//! Rows that are told after those that are gone, because they may take their place.

use super::super::super::rows::SourceRow;
use super::moves;
use super::table::ReadableTable;
use crate::model::event::EventChanges;
use crate::store::KeptRow;

/// Rows that wait until it is known what is gone.
const HELD: usize = 100_000;

/// What happened to a row.
#[derive(Debug)]
pub enum RowNews<'a> {
    /// It is new.
    Came,
    /// It has other values; which ones, where its content was kept.
    Changed(&'a KeptRow, Option<EventChanges>),
    /// Only its key was known, or it has the same values, perhaps written differently.
    Nothing(&'a KeptRow),
}

/// Rows that cannot be told before it is known what is gone: new ones, and those that may have
/// taken another's unique value. A copy of the table would refuse them as long as it has the row
/// whose value they took.
#[derive(Debug, Default)]
pub struct HeldRows {
    /// Whether rows are held back at all.
    holds: bool,
    /// Ids of rows with another value in a unique index, in the order of the keys.
    pub moved: Vec<String>,
    /// Ids of new rows, in the order of the keys.
    pub came: Vec<String>,
}

impl HeldRows {
    /// With nothing held yet.
    pub fn new(holds: bool) -> Self {
        Self { holds, ..Self::default() }
    }

    /// Notes a row that has to wait; whether it has to.
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
