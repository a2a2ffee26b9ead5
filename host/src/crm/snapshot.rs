//! What is kept of a row between two scans.
//!
//! Of each row: its [`hash_row`], by which a scan sees that nothing happened; a revision, which
//! counts its states and makes ids of occurrences differ; its [`DueMarks`], empty for nearly all;
//! and its content, from which `changed` and `previous` are told. The content is a JSON array in
//! the order of the columns, without their names: those stand once for each table, as
//! [`ColumnLayouts`]. A long text is kept as its digest. Columns whose changes nobody waits for are
//! not kept at all, and of tables where only new rows matter nothing is.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::due::DueMarks;
use super::lists;
use super::row::{CellValue, CrmRow};
use super::tables::{CrmTable, WatchDepth};
use crate::crypto::digest::ShortDigest;

/// The longest text in an unlimited column that is kept as it is, in bytes. A digest takes 36.
pub const LONGEST_KEPT: usize = 128;

/// What is kept of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredSnapshot {
    /// Which of its states this is: one more for each other content that it was seen with.
    pub revision: u32,
    /// What was told of it because of a date.
    pub marks: DueMarks,
    /// Its content.
    pub row: CrmRow,
}

impl StoredSnapshot {
    /// What to keep of a row.
    pub fn of(table: &CrmTable, row: &CrmRow, revision: u32, marks: DueMarks) -> Self {
        Self { revision, marks, row: reduce_row(table, row) }
    }
}

/// The hash of what counts in a row, as it was read. Equal hashes: nothing happened. Unequal ones:
/// the values are compared. It is stored, so an upgrade of Waybill must not make it in another way.
/// Without the names of the columns, which are the same for all rows of a table and would be most
/// of what is hashed.
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

/// The part of a row that is kept: its key and what counts, long texts as digests.
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

/// The columns that rows of one table were kept with, the key apart. More than one after the CRM or
/// Waybill was upgraded.
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
    /// From what was stored: a line for each, with the names of its columns.
    pub fn parse(table: &CrmTable, text: &str) -> Self {
        let known = |name: &str| table.columns.iter().copied().find(|column| *column == name);
        let column = |name: &str| known(name).map_or_else(|| name.to_owned().into(), Cow::Borrowed);
        Self(text.lines().map(|line| line.split(' ').map(column).collect()).collect())
    }

    /// As they are stored.
    pub fn text(&self) -> String {
        self.0.iter().map(|layout| layout.join(" ")).collect::<Vec<_>>().join("\n")
    }

    /// Makes the layout of a reduced row known. Whether it was not, so that the layouts are to be
    /// stored before, or with, the row.
    pub fn learn_layout(&mut self, table: &CrmTable, row: &CrmRow) -> bool {
        let layout = layout(table, row);
        let is_new = !self.0.contains(&layout);
        if is_new {
            self.0.push(layout);
        }
        is_new
    }

    /// A reduced row as it is stored: which layout, and the values. Nothing for a row of which only
    /// the key matters.
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

    /// The row that was stored under that key. One that cannot be read, or of which only the key
    /// matters, comes back with its key alone: nothing compares with that, so it is taken for no
    /// update, and if it is gone its key can still be told.
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
