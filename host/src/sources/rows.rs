//! Rows of polled lists and of custom tables: how they are identified, what is stored of them, and
//! the events that are made of them.

use super::RunFailed;
use super::run::SourceRun;
use crate::crypto::digest::ShortDigest;
use crate::ingest::incoming::{IncomingEvent, MAX_DEPTH, nests_deeper};
use crate::json::same_value::{TextValues, is_same_json};
use crate::model::event::EventChanges;
use crate::model::source::Source;
use crate::store::{KeptRow, RowHead};
use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::HashMap;

/// The longest content that is stored, in bytes. It is needed to tell the old value of a field.
const LONGEST_KEPT: usize = 64 * 1024;

/// The content of a row. Values stay as they were written, so that no number loses a digit.
pub type RowFields = IndexMap<String, Box<RawValue>>;

/// A row as it was read.
#[derive(Debug, Clone)]
pub struct SourceRow {
    /// The row's id as text.
    pub id: String,
    /// The id as a number; see [`number`].
    pub key: i64,
    /// The hash of the content.
    pub hash: ShortDigest,
    pub data: RowFields,
}

impl SourceRow {
    /// With this content.
    pub fn new(id: String, data: RowFields) -> Self {
        Self { key: number(&id), hash: hash_fields(&data), id, data }
    }
}

/// Returns a row's id as a number: the number itself if the id is a whole number, else a negative
/// number made from a digest of the text.
pub fn number(id: &str) -> i64 {
    if let Some(key) = id.parse().ok().filter(|key: &i64| key.to_string() == id) {
        return key;
    }
    let bytes = ShortDigest::of([id]);
    let first = bytes.bytes().first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(first) | i64::MIN
}

/// Hashes the content. Neither the order of the fields nor fields without a value count.
fn hash_fields(data: &RowFields) -> ShortDigest {
    let mut fields: Vec<(&str, &str)> =
        data.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
    fields.retain(|(_, value)| *value != "null");
    fields.sort_unstable();
    ShortDigest::of(fields.into_iter().flat_map(|(name, value)| [name, value]))
}

/// The marks of a new row of which no valid event could be made, so that none was captured.
pub const UNTOLD: &str = "untold";

/// Whether a row is stored although no event about it was captured.
pub fn is_untold(head: &RowHead) -> bool {
    head.marks == UNTOLD
}

/// What to store of a row that the next run must capture again: no content has this hash.
pub fn reopened(head: RowHead) -> KeptRow {
    let hash = ShortDigest::of(["reopened"]);
    KeptRow { head: RowHead { hash, ..head }, cells: String::new() }
}

/// Reads what is stored of rows without their content, by key.
pub async fn read_heads(
    run: &SourceRun,
    list: &str,
    rows: impl Iterator<Item = &SourceRow>,
) -> Result<HashMap<i64, RowHead>, RunFailed> {
    let keys: Vec<i64> = rows.map(|row| row.key).collect();
    let heads = run.journal().find_row_heads(run.id(), list, &keys).await?;
    Ok(heads.into_iter().map(|head| (head.key, head)).collect())
}

/// Reads what is stored of rows, by key.
pub async fn read_kept(
    run: &SourceRun,
    list: &str,
    keys: &[i64],
) -> Result<HashMap<i64, KeptRow>, RunFailed> {
    let kept = run.journal().find_kept_rows(run.id(), list, keys).await?;
    Ok(kept.into_iter().map(|row| (row.head.key, row)).collect())
}

/// Returns the number of a row's new state.
pub fn revision(old: Option<&RowHead>, of_new: u32) -> u32 {
    old.map_or(of_new, |old| old.revision.wrapping_add(1))
}

/// Returns the revision that new rows get once these rows are forgotten. It is above theirs, so
/// that a key that is used again does not lead to an event id that was used before.
pub fn revision_after<'a>(of_new: u32, gone: impl IntoIterator<Item = &'a RowHead>) -> u32 {
    gone.into_iter().fold(of_new, |of_new, head| of_new.max(revision(Some(head), 0)))
}

/// Makes what is stored of a row. If the content is too long, `instead` is stored in its place.
pub fn keep(row: &SourceRow, revision: u32, instead: &str) -> KeptRow {
    let text = serde_json::to_string(&row.data).unwrap_or_default();
    let cells = if text.len() > LONGEST_KEPT { instead.to_owned() } else { text };
    let head = RowHead { key: row.key, hash: row.hash, revision, marks: String::new() };
    KeptRow { head, cells }
}

/// Returns the stored content of a row, or `None` if it was too long to be stored.
pub fn content(kept: &KeptRow) -> Option<RowFields> {
    serde_json::from_str(&kept.cells).ok()
}

/// Returns the fields whose values changed. A value that is only written differently has not
/// changed, and a field without a value equals a missing field.
pub fn changes(old: &RowFields, new: &RowFields, texts: TextValues) -> EventChanges {
    let value = |fields: &RowFields, field: &str| fields.get(field).cloned().unwrap_or_default();
    let missing = |field: &&String| !new.contains_key(*field);
    let fields = new.keys().chain(old.keys().filter(missing));
    let differs =
        |field: &&String| !is_same_json(value(old, field).get(), value(new, field).get(), texts);
    let changed: Vec<String> = fields.filter(differs).cloned().collect();
    let previous = changed.iter().map(|field| (field.clone(), value(old, field))).collect();
    EventChanges { changed, previous }
}

/// Returns the changes as an event carries them, or `None` if an old value is nested deeper than an
/// event may be.
fn told(changes: &EventChanges) -> Option<Box<RawValue>> {
    let told = to_raw_value(changes).ok()?;
    (!nests_deeper(told.get(), MAX_DEPTH)).then_some(told)
}

/// A change of a row that becomes an event.
#[derive(Debug, Clone, Copy)]
pub struct RowHappening<'a> {
    pub source: &'a Source,
    /// The list or table that the row is in.
    pub list: &'a str,
    /// The resource that a row of it is.
    pub resource: &'a str,
    pub event_type: &'a str,
    /// The number of the row's state that the event describes.
    pub revision: u32,
}

impl RowHappening<'_> {
    /// Makes the event. Its id follows from the source, the row and its state, so that a run that
    /// is repeated after a crash makes the same event.
    pub fn event(&self, row: &SourceRow, changes: Option<&EventChanges>) -> IncomingEvent {
        let Self { source, list, resource, event_type, revision } = *self;
        let (origin, revision) = (source.id.to_string(), revision.to_string());
        let content = row.hash.to_string();
        let parts = [origin.as_str(), list, &row.id, event_type, &revision, &content];
        let data = to_raw_value(&row.data).unwrap_or_default();
        IncomingEvent {
            id: Some(ShortDigest::of(parts).to_string()),
            source: Some(source.settings.name.clone()),
            resource: Some(resource.to_owned()),
            resource_id: Some(row.id.clone()),
            changes: changes.and_then(told),
            ..IncomingEvent::new(event_type, data)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> RowFields {
        serde_json::from_str(text).unwrap()
    }

    fn row(text: &str) -> SourceRow {
        SourceRow::new("7".to_owned(), fields(text))
    }

    #[test]
    fn neither_the_order_of_fields_nor_empty_ones_count() {
        let one = row(r#"{"a": 1, "b": "x"}"#);
        assert_eq!(one.hash, row(r#"{"b": "x", "a": 1, "c": null}"#).hash);
        for other in [r#"{"a": 1}"#, r#"{"a": "1", "b": "x"}"#, r#"{"a": 1, "b": null}"#] {
            assert_ne!(one.hash, row(other).hash, "{other}");
        }
        let big = row(r#"{"n": 12345678901234567890123}"#);
        assert_ne!(big.hash, row(r#"{"n": 12345678901234567890124}"#).hash);
    }

    /// Databases hold hashes that were made like this. If they were made differently, every row
    /// would count as changed after an upgrade.
    #[test]
    fn hashes_are_made_as_they_were_stored() {
        let row = row(r#"{"id": 7, "total": 1.50, "note": null, "name": "x"}"#);
        assert_eq!(row.hash.to_string(), "28d6dd8be20b8157cfaae9cf90a131f9");
    }

    #[test]
    fn a_number_is_itself_and_a_text_is_below_zero() {
        assert_eq!((number("17"), number("-5")), (17, -5));
        assert_eq!(number("9223372036854775807"), i64::MAX);
        for text in ["017", "a", "", "9223372036854775808", "17 ", "+1"] {
            assert!(number(text) < 0, "{text}");
        }
        assert_ne!(number("a"), number("A"));
    }

    #[test]
    fn changes_tell_the_old_values_as_they_were_written() {
        let old = fields(r#"{"a": 1.10, "b": "x", "gone": true, "none": null, "c": "1"}"#);
        let new = fields(r#"{"a": 1.2, "b": "x", "more": [1], "nothing": null, "c": 1}"#);
        let found = serde_json::to_string(&changes(&old, &new, TextValues::AreTexts)).unwrap();
        let wanted =
            r#"{"changed":["a","more","gone"],"previous":{"a":1.10,"more":null,"gone":true}}"#;
        assert_eq!(found, wanted);
    }

    #[test]
    fn long_content_is_not_kept() {
        let long = format!(r#"{{"id": 7, "text": "{}"}}"#, "x".repeat(LONGEST_KEPT));
        let kept = keep(&row(&long), 0, "7");
        assert_eq!(kept.cells, "7");
        assert!(content(&kept).is_none());
        assert!(content(&keep(&row(r#"{"id": 7}"#), 0, "7")).is_some());
    }
}
