//! What is stored of a row between two scans.
//!
//! For each row: its [`hash_row`], which tells a scan that the row has not changed; a revision,
//! which counts the row's states and makes the ids of its events differ; its [`DueMarks`], which
//! are empty for nearly all rows; and its content, which gives `changed` and `previous`. The
//! content is a JSON array in the order of the columns. The names of the columns are stored once
//! for each table, as [`ColumnLayouts`]. A long text is stored as a digest. Columns that no rule
//! compares are not stored, and neither is the content of tables in which only new rows matter.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::due::DueMarks;
use super::lists;
use super::row::{CellValue, CrmRow};
use super::tables::{CrmTable, WatchDepth};
use crate::crypto::digest::ShortDigest;

/// The longest text of an unlimited column that is stored in full, in bytes. A digest takes 36.
pub const LONGEST_KEPT: usize = 128;

/// The stored state of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredSnapshot {
    /// The number of this state. It grows by one with each change that a scan finds.
    pub revision: u32,
    /// The states of events that depend on dates.
    pub marks: DueMarks,
    /// The content.
    pub row: CrmRow,
}

impl StoredSnapshot {
    /// Makes the state to store of a row.
    pub fn of(table: &CrmTable, row: &CrmRow, revision: u32, marks: DueMarks) -> Self {
        Self { revision, marks, row: reduce_row(table, row) }
    }
}

/// Hashes the columns of a row that count. If two hashes are equal, the row has not changed; if
/// they differ, the values are compared. The hash is stored, so it must be computed in the same way
/// in every version. The names of the columns are not hashed, because they are the same for all
/// rows and would be most of the input.
pub fn hash_row(table: &CrmTable, row: &CrmRow) -> ShortDigest {
    let mut content: Vec<u8> = Vec::new();
    for (_, cell) in row.iter().filter(|(column, _)| table.counts(column)) {
        let (kind, bytes): (u8, &[u8]) = match cell {
            CellValue::Null => (b'n', b""),
            CellValue::Text(text) | CellValue::Number(text) | CellValue::List(_, text) => {
                (b't', text.as_bytes())
            }
            CellValue::Digest(hash) => (b'd', hash.bytes()),
        };
        content.push(kind);
        content.extend((bytes.len() as u64).to_be_bytes());
        content.extend(bytes);
    }
    ShortDigest::of([content])
}

/// Returns the part of a row that is stored: its key and the columns that count, long texts as
/// digests.
pub fn reduce_row(table: &CrmTable, row: &CrmRow) -> CrmRow {
    let is_kept = |column: &str| column == table.key || table.counts(column);
    let cells = row.iter().filter(|(column, _)| is_kept(column));
    cells.map(|(column, cell)| (column.clone(), shorten(table, column, cell))).collect()
}

fn shorten(table: &CrmTable, column: &str, cell: &CellValue) -> CellValue {
    let is_long = match cell {
        CellValue::List(list, _) => !list.kept,
        CellValue::Text(text) => table.long.contains(&column) && text.len() > LONGEST_KEPT,
        CellValue::Number(_) | CellValue::Null | CellValue::Digest(_) => false,
    };
    match cell {
        _ if is_long => cell.digest().map_or(CellValue::Null, CellValue::Digest),
        CellValue::List(list, text) => CellValue::List(list, lists::shorten(list, text)),
        CellValue::Text(_) | CellValue::Number(_) | CellValue::Null | CellValue::Digest(_) => {
            cell.clone()
        }
    }
}

/// The lists of columns with which rows of a table were stored, without the key. There is more than
/// one list after an upgrade of the CRM or of Waybill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnLayouts(Vec<ColumnLayout>);

type ColumnLayout = Vec<Cow<'static, str>>;

fn id(layout: &ColumnLayout) -> String {
    let hash = ShortDigest::of(layout.iter().map(AsRef::<str>::as_ref)).to_string();
    hash.chars().take(8).collect()
}

fn layout(table: &CrmTable, row: &CrmRow) -> ColumnLayout {
    row.columns().filter(|column| *column != table.key).cloned().collect()
}

impl ColumnLayouts {
    /// Parses stored layouts: one line for each, with the names of its columns.
    pub fn parse(table: &CrmTable, text: &str) -> Self {
        let known = |name: &str| table.columns.iter().copied().find(|column| *column == name);
        let column = |name: &str| known(name).map_or_else(|| name.to_owned().into(), Cow::Borrowed);
        Self(text.lines().map(|line| line.split(' ').map(column).collect()).collect())
    }

    /// Returns the layouts as they are stored.
    pub fn text(&self) -> String {
        self.0.iter().map(|layout| layout.join(" ")).collect::<Vec<_>>().join("\n")
    }

    /// Adds the layout of a reduced row. Returns whether it is new, so that the layouts must be
    /// stored with the row or before it.
    pub fn learn_layout(&mut self, table: &CrmTable, row: &CrmRow) -> bool {
        let layout = layout(table, row);
        let is_new = !self.0.contains(&layout);
        if is_new {
            self.0.push(layout);
        }
        is_new
    }

    /// Encodes a reduced row as it is stored: the number of its layout, and the values. Returns an
    /// empty text for a row of which only the key matters.
    pub fn encode_row(table: &CrmTable, row: &CrmRow) -> String {
        if table.watch() == WatchDepth::Keys {
            return String::new();
        }
        let value = |cell: &CellValue| match cell {
            CellValue::Null => Value::Null,
            CellValue::Text(text) | CellValue::Number(text) | CellValue::List(_, text) => {
                Value::from(text.as_str())
            }
            CellValue::Digest(hash) => json!([hash.to_string()]),
        };
        let cells = row.iter().filter(|(column, _)| *column != table.key);
        let values: Vec<Value> = cells.map(|(_, cell)| value(cell)).collect();
        format!("{}{}", id(&layout(table, row)), Value::from(values))
    }

    /// Decodes a stored row. If it cannot be read, or if only its key was stored, returns the key
    /// alone. Such a row leads to no update, because there is nothing to compare with, but its
    /// deletion is still found.
    pub fn decode_row(&self, table: &CrmTable, key: &str, text: &str) -> CrmRow {
        let mut row = CrmRow::default();
        row.push(table.key, CellValue::Text(key.to_owned()));
        for (column, cell) in self.parse_cells(text).unwrap_or_default() {
            let cell = match (table.list(&column), cell) {
                (Some(list), CellValue::Text(text)) => CellValue::List(list, text),
                (_, cell) => cell,
            };
            row.push(column, cell);
        }
        row
    }

    fn parse_cells(&self, text: &str) -> Option<Vec<(Cow<'static, str>, CellValue)>> {
        let (wanted, values) = text.split_at_checked(8)?;
        let layout = self.0.iter().find(|layout| id(layout) == wanted)?;
        let values: Vec<Value> = serde_json::from_str(values).ok()?;
        let cells: Option<Vec<CellValue>> = values.iter().map(cell).collect();
        let cells = cells.filter(|cells| cells.len() == layout.len())?;
        Some(layout.iter().cloned().zip(cells).collect())
    }
}

fn cell(value: &Value) -> Option<CellValue> {
    match value {
        Value::Null => Some(CellValue::Null),
        Value::String(text) => Some(CellValue::Text(text.clone())),
        Value::Array(digest) => digest
            .first()
            .and_then(Value::as_str)
            .and_then(ShortDigest::parse)
            .map(CellValue::Digest),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}
