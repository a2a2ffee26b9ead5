//! Records: the latest state of what events are about, as automation platforms poll it.

use super::event::Event;
use super::members::Members;
use super::time::Timestamp;
use serde_json::value::RawValue;

/// Data with fewer members than this tells of a record, but does not hold it: some senders give little
/// more than its id.
const WHOLE: usize = 3;
/// Data longer than this, in bytes, is taken for a record without being read, unless a hook's arguments
/// may stand in it.
const LONG: usize = 256;
/// What Perfex CRM's hooks pass beside an id, and what the modules that send them add. None of these
/// is a column of a record.
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
    /// What an event of a type of the catalogue says of its record; `None` where it says not which one,
    /// or has no object to say it with. `holds_record` is false where the data is known to be about the
    /// record only.
    pub fn of(event: &Event, holds_record: bool) -> Option<Self> {
        let id = event.resource_id.as_deref()?;
        let data = event.data.get();
        data.starts_with('{').then(|| Self {
            ordinal: id.parse().unwrap_or(0),
            whole: holds_record && (is_plainly_whole(data) || is_whole_text(data)),
            deleted: event.event_type.ends_with(".deleted"),
        })
    }
}

/// Spares long data the reading: nearly all of it are records.
fn is_plainly_whole(data: &str) -> bool {
    data.len() > LONG && !data.contains("\"data\":") && !data.contains("\"updated\":")
}

fn is_whole_text(data: &str) -> bool {
    Members::read(data).is_ok_and(|members| is_whole(&members))
}

/// Whether an object holds a record: it has enough members that are not arguments of a hook.
pub fn is_whole(members: &Members<'_>) -> bool {
    members.names().filter(|name| !ARGUMENTS.contains(name)).nth(WHOLE - 1).is_some()
}

/// A record as it stands.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which one, as its source numbers them.
    pub resource_id: String,
    /// Where it comes from.
    pub source: String,
    /// When it was last heard of.
    pub updated_at: Timestamp,
    /// Its state: a JSON object.
    pub data: Box<RawValue>,
}

/// The orders in which records are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Last heard of first.
    #[default]
    Newest,
    /// First heard of first.
    Oldest,
    /// By id.
    Id,
    /// By id, the greatest first.
    IdDescending,
}
