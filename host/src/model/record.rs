//! Records: the latest state of the things that events are about, for automation platforms that
//! poll.

use super::event::Event;
use crate::json::members::JsonMembers;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Fewest members of data that hold a whole record. Some senders give little more than an id.
const WHOLE: usize = 3;
/// Data longer than this, in bytes, counts as a record without being parsed, unless it may hold a
/// hook's arguments.
const LONG: usize = 256;
/// The members that Perfex CRM's hooks, and the modules that send them, pass beside an id. None of
/// them is a column of a record.
const ARGUMENTS: [&str; 17] = [
    "_source_hook",
    "admin",
    "contact_data",
    "custom_fields",
    "data",
    "groups_in",
    "new_status",
    "old_status",
    "original_ticket",
    "payment",
    "replyid",
    "sent_to",
    "sms_send",
    "transfer_data_to",
    "updated",
    "web_to_lead_form",
    "with_contact",
];

/// The change of a record in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordChange {
    /// The id as a number, or 0 if it is not a number.
    pub ordinal: i64,
    /// Whether the event holds the whole record.
    pub whole: bool,
    /// Whether the record was deleted.
    pub deleted: bool,
}

impl RecordChange {
    /// Reads the change of the record in an event of a catalogued type. Returns `None` if the event
    /// has no record id or its data is not an object. `holds_record` is false if the data is known
    /// to be only about the record.
    pub fn of(event: &Event, holds_record: bool) -> Option<Self> {
        let id = event.resource_id.as_deref()?;
        let data = event.data.get();
        data.starts_with('{').then(|| Self {
            ordinal: record_ordinal(id),
            whole: holds_record && (is_plainly_whole(data) || is_whole_text(data)),
            deleted: event.event_type.ends_with(".deleted"),
        })
    }
}

/// Returns a record's id as a number, by which lists by id are ordered, or 0 if it is not a number.
pub fn record_ordinal(resource_id: &str) -> i64 {
    resource_id.parse().unwrap_or(0)
}

/// Whether long data holds a record, decided without parsing it. Nearly all long data does.
fn is_plainly_whole(data: &str) -> bool {
    data.len() > LONG && !data.contains("\"data\":") && !data.contains("\"updated\":")
}

fn is_whole_text(data: &str) -> bool {
    JsonMembers::read(data).is_ok_and(|members| is_whole(&members))
}

/// Whether an object holds a whole record, that is enough members that are not arguments of a hook.
pub fn is_whole(members: &JsonMembers<'_>) -> bool {
    members.names().filter(|name| !ARGUMENTS.contains(name)).nth(WHOLE - 1).is_some()
}

/// The present state of a record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The record's id in its source.
    pub resource_id: String,
    /// The name of the source.
    pub source: String,
    /// The id as a number, or 0 if it is not a number.
    pub ordinal: i64,
    /// Time of the first event about the record.
    pub created_at: Timestamp,
    /// Time of the last event about the record.
    pub updated_at: Timestamp,
    /// The state, a JSON object.
    pub data: Box<RawValue>,
}

impl Record {
    /// Returns the record's name among all records of its resource, over all sources: `SOURCE:ID`.
    /// `%` and `:` in the source are escaped as in a URL, so that no two records have the same key.
    pub fn key(&self) -> String {
        record_name(&self.source, &self.resource_id)
    }

    /// Returns a name for this state of the record: [`Record::key`] and the microsecond of the last
    /// event about it.
    pub fn revision(&self) -> String {
        format!("{}@{}", self.key(), self.updated_at.micros())
    }

    /// Returns the record's position in a list of this order.
    pub fn position(&self, order: RecordOrder) -> RecordPosition {
        let at = match order {
            RecordOrder::Created => self.created_at.micros(),
            RecordOrder::Newest | RecordOrder::Oldest => self.updated_at.micros(),
            RecordOrder::Id | RecordOrder::IdDescending => 0,
        };
        RecordPosition {
            order,
            at,
            ordinal: self.ordinal,
            resource_id: self.resource_id.clone(),
            source: self.source.clone(),
        }
    }
}

/// Returns a name of a record that is unique over all sources.
pub fn record_name(source: &str, resource_id: &str) -> String {
    let source = source.replace('%', "%25").replace(':', "%3A");
    format!("{source}:{resource_id}")
}

/// The orders in which records are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOrder {
    /// By the first event, newest first. Updates do not change this order.
    #[default]
    Created,
    /// By the last event, newest first.
    Newest,
    /// By the last event, newest last.
    Oldest,
    /// By id, the lowest first.
    Id,
    /// By id, the highest first.
    IdDescending,
}

/// A position in a list. The next page begins after it, even if records have moved in the meantime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordPosition {
    /// The order of the list.
    pub order: RecordOrder,
    /// The time that the order uses, in microseconds. 0 in an order by id.
    pub at: i64,
    /// The record's id as a number, or 0 if it is not a number.
    pub ordinal: i64,
    /// The record's id.
    pub resource_id: String,
    /// The record's source.
    pub source: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_records_have_the_same_name() {
        let parts = ["a", "a:b", "b", "a%3Ab", ":", "%", "1"];
        let pairs = parts.iter().flat_map(|source| parts.map(|id| (*source, id)));
        let mut names: Vec<String> = pairs.map(|(source, id)| record_name(source, id)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), parts.len() * parts.len());
    }
}
