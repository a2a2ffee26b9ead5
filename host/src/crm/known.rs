//! Rows of other tables that the data of an event needs: the record that a comment belongs to, the
//! code of a currency.
//!
//! [`super::derive::change_references`] says which, the caller reads them, all of a chunk at once,
//! and hands them in as [`KnownRows`]. What is not known makes the data poorer and never the event
//! wrong. The exceptions are the rules of which catalogue and derivation say that they look
//! elsewhere.

use std::collections::HashMap;

use super::data;
use super::row::CrmRow;
use super::tables;

/// Rows to be looked up: those of a table with this value in this column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowReference {
    /// The table, without prefix.
    pub table: &'static str,
    pub column: &'static str,
    pub value: String,
}

impl RowReference {
    /// The row of a table with that key. None for a key by which the CRM says that there is no such
    /// row.
    pub fn to_row(table: &'static str, key: Option<&str>) -> Option<Self> {
        let column = tables::find_table(table)?.key;
        let value = key.filter(|key| !key.is_empty() && *key != "0")?.to_owned();
        Some(Self { table, column, value })
    }
}

/// What was looked up.
#[derive(Debug, Default)]
pub struct KnownRows {
    rows: HashMap<RowReference, Vec<CrmRow>>,
}

impl KnownRows {
    /// Takes in the answer to a reference. Where the database has the row no more, that may be the
    /// row as it was kept.
    pub fn put(&mut self, reference: RowReference, rows: Vec<CrmRow>) {
        self.rows.insert(reference, rows);
    }

    /// Takes in a row of a table under its key, as for those of [`tables::LOOKED_INTO`].
    pub fn put_row(&mut self, table: &'static str, row: CrmRow) {
        if let Some(reference) = tables::find_table(table).and_then(|found| {
            let value = row.text(found.key)?.to_owned();
            Some(RowReference { table: found.name, column: found.key, value })
        }) {
            self.put(reference, vec![row]);
        }
    }

    /// What the joins of the rows that were looked up need and is not looked up yet.
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

    /// The row of a table with that key.
    pub fn row(&self, table: &'static str, key: Option<&str>) -> Option<&CrmRow> {
        self.rows.get(&RowReference::to_row(table, key)?)?.first()
    }

    /// The rows of a table with that value in that column.
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
