//! Records: the latest state of what events are about, as automation platforms poll it.

use super::event::Event;
use crate::json::members::JsonMembers;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Data with fewer members than this tells of a record, but does not hold it: some senders give
/// little more than its id.
const WHOLE: usize = 3;
/// Data longer than this, in bytes, is taken for a record without being read, unless a hook's
/// arguments may stand in it.
const LONG: usize = 256;
/// What Perfex CRM's hooks pass beside an id, and what the modules that send them add. None of
/// these is a column of a record.
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

/// What an event says of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordChange {
    /// The id as a number, 0 where it is none.
    pub ordinal: i64,
    /// Whether the event holds the whole record.
    pub whole: bool,
    /// Whether the record is gone.
    pub deleted: bool,
}

impl RecordChange {
    /// What an event of a type of the catalogue says of its record; `None` where it says not which
    /// one, or has no object to say it with. `holds_record` is false where the data is known to be
    /// about the record only.
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

/// A record's id as a number, by which lists by id are in order; 0 where it is not a number.
pub fn record_ordinal(resource_id: &str) -> i64 {
    resource_id.parse().unwrap_or(0)
}

/// Spares long data the reading: nearly all of it are records.
fn is_plainly_whole(data: &str) -> bool {
    data.len() > LONG && !data.contains("\"data\":") && !data.contains("\"updated\":")
}

fn is_whole_text(data: &str) -> bool {
    JsonMembers::read(data).is_ok_and(|members| is_whole(&members))
}

/// Whether an object holds a record: it has enough members that are not arguments of a hook.
pub fn is_whole(members: &JsonMembers<'_>) -> bool {
    members.names().filter(|name| !ARGUMENTS.contains(name)).nth(WHOLE - 1).is_some()
}

/// A record as it stands.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which one, as its source numbers them.
    pub resource_id: String,
    /// Where it comes from.
    pub source: String,
    /// Its id as a number, 0 where the id is not a number.
    pub ordinal: i64,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it was last heard of.
    pub updated_at: Timestamp,
    /// Its state: a JSON object.
    pub data: Box<RawValue>,
}

impl Record {
    /// Names the record among all records of its resource, whatever their sources: `SOURCE:ID`,
    /// with `%` and `:` of the source escaped as in a URL, so that no two records have the same
    /// key.
    pub fn key(&self) -> String {
        record_name(&self.source, &self.resource_id)
    }

    /// Names this state of the record: [`Record::key`] and the microsecond in which it was last
    /// heard of.
    pub fn revision(&self) -> String {
        format!("{}@{}", self.key(), self.updated_at.micros())
    }

    /// Where it stands in a list of this order.
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

/// The name of a record that is unique over all sources.
pub fn record_name(source: &str, resource_id: &str) -> String {
    let source = source.replace('%', "%25").replace(':', "%3A");
    format!("{source}:{resource_id}")
}

/// The orders in which records are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOrder {
    /// First heard of last, which no update changes.
    #[default]
    Created,
    /// Last heard of first.
    Newest,
    /// Last heard of last.
    Oldest,
    /// By id.
    Id,
    /// By id, the greatest first.
    IdDescending,
}

/// The place of a record in a list: the next page begins after it, wherever records moved
/// meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordPosition {
    /// The order of the list.
    pub order: RecordOrder,
    /// The time that the order goes by, in microseconds; 0 in an order by id.
    pub at: i64,
    /// The record's id as a number, 0 where the id is not a number.
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
