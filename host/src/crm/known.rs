//! Rows of other tables that the data of an event needs, such as the record that a comment belongs
//! to or the code of a currency.
//!
//! [`super::derive::change_references`] names them. The caller reads them for a whole chunk at once
//! and passes them in as [`KnownRows`]. If a row is not known, the data has fewer fields, but the
//! event is still right. The only exceptions are rules whose conditions look at other tables; the
//! catalogue names them.

use std::collections::HashMap;

use super::data;
use super::row::CrmRow;
use super::tables;

/// A reference to the rows of a table that have this value in this column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowReference {
    /// The table, without prefix.
    pub table: &'static str,
    pub column: &'static str,
    pub value: String,
}

impl RowReference {
    /// Refers to the row with this key. Returns `None` for keys that stand for "no row", such as
    /// `0`.
    pub fn to_row(table: &'static str, key: Option<&str>) -> Option<Self> {
        let column = tables::find_table(table)?.key;
        let value = key.filter(|key| !key.is_empty() && *key != "0")?.to_owned();
        Some(Self { table, column, value })
    }
}

/// The rows that were looked up.
#[derive(Debug, Default)]
pub struct KnownRows {
    rows: HashMap<RowReference, Vec<CrmRow>>,
}

impl KnownRows {
    /// Adds the rows of a reference. If the row was deleted in the database, this may be its stored
    /// state.
    pub fn put(&mut self, reference: RowReference, rows: Vec<CrmRow>) {
        self.rows.insert(reference, rows);
    }

    /// Adds a row under its key. Used for the tables of [`tables::LOOKED_INTO`].
    pub fn put_row(&mut self, table: &'static str, row: CrmRow) {
        if let Some(reference) = tables::find_table(table).and_then(|found| {
            let value = row.text(found.key)?.to_owned();
            Some(RowReference { table: found.name, column: found.key, value })
        }) {
            self.put(reference, vec![row]);
        }
    }

    /// Returns the references that the joins of these rows need and that were not looked up yet.
    pub fn further_references(&self) -> Vec<RowReference> {
        let mut found = Vec::new();
        for (reference, rows) in &self.rows {
            let table = tables::find_table(reference.table).filter(|table| !table.joins.is_empty());
            for (table, row) in
                table.into_iter().flat_map(|table| rows.iter().map(move |r| (table, r)))
            {
                found.extend(data::join_references(table, row));
            }
        }
        found.retain(|reference| !self.rows.contains_key(reference));
        found.sort();
        found.dedup();
        found
    }

    /// Returns the row of a table with this key.
    pub fn row(&self, table: &'static str, key: Option<&str>) -> Option<&CrmRow> {
        self.rows.get(&RowReference::to_row(table, key)?)?.first()
    }

    /// Returns the rows of a table with this value in this column.
    pub fn rows(&self, table: &'static str, column: &'static str, value: &str) -> &[CrmRow] {
        let reference = RowReference { table, column, value: value.to_owned() };
        self.rows.get(&reference).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_key() {
        assert_eq!(RowReference::to_row("tasks", Some("0")), None);
        assert_eq!(RowReference::to_row("tasks", None), None);
        let expected = RowReference { table: "tickets", column: "ticketid", value: "7".into() };
        assert_eq!(RowReference::to_row("tickets", Some("7")), Some(expected));
    }
}
