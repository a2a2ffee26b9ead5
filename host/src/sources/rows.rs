//! Rows, wherever they are read: what tells one from another, what is kept of it, and the events
//! that are made of it.

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

/// The longest content that is kept, in bytes, to tell from what a field changed.
const LONGEST_KEPT: usize = 64 * 1024;

/// The content of a row, each value as it was written: no number loses a digit.
pub type RowFields = IndexMap<String, Box<RawValue>>;

/// A row as it was read.
#[derive(Debug, Clone)]
pub struct SourceRow {
    /// What identifies it, as text.
    pub id: String,
    /// The same as a number.
    pub key: i64,
    /// Of its content.
    pub hash: ShortDigest,
    pub data: RowFields,
}

impl SourceRow {
    /// With this content.
    pub fn new(id: String, data: RowFields) -> Self {
        Self { key: number(&id), hash: hash_fields(&data), id, data }
    }
}

/// A row's id as a number: itself, or made from the text. Then it is negative, so that it is no
/// other row's.
pub fn number(id: &str) -> i64 {
    if let Some(key) = id.parse().ok().filter(|key: &i64| key.to_string() == id) {
        return key;
    }
    let bytes = ShortDigest::of([id]);
    let first = bytes.bytes().first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(first) | i64::MIN
}

/// Of the content, in whatever order its fields stand. A field that holds nothing is as good as
/// none.
fn hash_fields(data: &RowFields) -> ShortDigest {
    let mut fields: Vec<(&str, &str)> =
        data.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
    fields.retain(|(_, value)| *value != "null");
    fields.sort_unstable();
    ShortDigest::of(fields.into_iter().flat_map(|(name, value)| [name, value]))
}

/// The marks of a row that is new and of which no event could be made: nobody knows of it yet.
pub const UNTOLD: &str = "untold";

/// Whether nobody knows of a row yet, although it is kept.
pub fn is_untold(head: &RowHead) -> bool {
    head.marks == UNTOLD
}

/// What to keep of a row that is to be told again as it will be read: no content has this hash.
pub fn reopened(head: RowHead) -> KeptRow {
    let hash = ShortDigest::of(["reopened"]);
    KeptRow { head: RowHead { hash, ..head }, cells: String::new() }
}

/// What was kept of rows, without their contents, by key.
pub async fn read_heads(
    run: &SourceRun,
    list: &str,
    rows: impl Iterator<Item = &SourceRow>,
) -> Result<HashMap<i64, RowHead>, RunFailed> {
    let keys: Vec<i64> = rows.map(|row| row.key).collect();
    let heads = run.journal().find_row_heads(run.id(), list, &keys).await?;
    Ok(heads.into_iter().map(|head| (head.key, head)).collect())
}

/// What was kept of rows, by key.
pub async fn read_kept(
    run: &SourceRun,
    list: &str,
    keys: &[i64],
) -> Result<HashMap<i64, KeptRow>, RunFailed> {
    let kept = run.journal().find_kept_rows(run.id(), list, keys).await?;
    Ok(kept.into_iter().map(|row| (row.head.key, row)).collect())
}

/// Which state of a row this is: the next one, or that of a new row.
pub fn revision(old: Option<&RowHead>, of_new: u32) -> u32 {
    old.map_or(of_new, |old| old.revision.wrapping_add(1))
}

/// The revision of new rows once these are forgotten: above theirs.
pub fn revision_after<'a>(of_new: u32, gone: impl IntoIterator<Item = &'a RowHead>) -> u32 {
    gone.into_iter().fold(of_new, |of_new, head| of_new.max(revision(Some(head), 0)))
}

/// What to keep of a row; `instead` of its content where that is too long.
pub fn keep(row: &SourceRow, revision: u32, instead: &str) -> KeptRow {
    let text = serde_json::to_string(&row.data).unwrap_or_default();
    let cells = if text.len() > LONGEST_KEPT { instead.to_owned() } else { text };
    let head = RowHead { key: row.key, hash: row.hash, revision, marks: String::new() };
    KeptRow { head, cells }
}

/// The content that was kept of a row; `None` where it was too long.
pub fn content(kept: &KeptRow) -> Option<RowFields> {
    serde_json::from_str(&kept.cells).ok()
}

/// Which fields have another value than before. A value that is only written differently is the
/// same one, and a field that holds nothing is as good as none.
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

/// Changes as an event carries them; none where an old value nests deeper than any event may.
fn told(changes: &EventChanges) -> Option<Box<RawValue>> {
    let told = to_raw_value(changes).ok()?;
    (!nests_deeper(told.get(), MAX_DEPTH)).then_some(told)
}

/// A row that something happened to.
#[derive(Debug, Clone, Copy)]
pub struct RowHappening<'a> {
    pub source: &'a Source,
    /// The list or table that it stands in.
    pub list: &'a str,
    /// What its rows are.
    pub resource: &'a str,
    pub event_type: &'a str,
    /// Which of its states it is about.
    pub revision: u32,
}

impl RowHappening<'_> {
    /// Its event, under the same id whenever it is found out.
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

    /// Stored hashes were made so. Another way to make them would have every row read anew after an
    /// upgrade.
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
