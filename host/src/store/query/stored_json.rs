//! Reads JSON that is stored as text.

use crate::store::StoreError;
use crate::store::db::StoredRow;
use crate::store::error::database_error::corrupt_value;
use crate::store::packed_text::read_packed;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Returns the JSON text of a column without parsing it into a type.
pub fn read_raw(
    row: &StoredRow<'_>,
    table: &'static str,
    column: &'static str,
) -> Result<Box<RawValue>, StoreError> {
    raw(row.get(column)?, table, column)
}

/// Like [`read_raw`], for a column that may be null.
pub fn read_optional_raw(
    row: &StoredRow<'_>,
    table: &'static str,
    column: &'static str,
) -> Result<Option<Box<RawValue>>, StoreError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| raw(text, table, column)).transpose()
}

/// Like [`read_raw`], for a text that may be compressed.
pub fn read_packed_raw(
    row: &StoredRow<'_>,
    table: &'static str,
    column: &'static str,
) -> Result<Box<RawValue>, StoreError> {
    let text = read_packed(row, table, (column, "packed"))?;
    raw(text.unwrap_or_default(), table, column)
}

/// Like [`read_packed_raw`], for a column that may be null.
pub fn read_optional_packed_raw(
    row: &StoredRow<'_>,
    table: &'static str,
    column: &'static str,
) -> Result<Option<Box<RawValue>>, StoreError> {
    let text = read_packed(row, table, (column, "packed"))?;
    text.map(|text| raw(text, table, column)).transpose()
}

/// Parses the JSON text of a column into a type.
pub fn read_json<T: DeserializeOwned>(
    row: &StoredRow<'_>,
    table: &'static str,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| corrupt_value(table, column, &error))
}

fn raw(
    text: String,
    table: &'static str,
    column: &'static str,
) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(text).map_err(|error| corrupt_value(table, column, &error))
}
