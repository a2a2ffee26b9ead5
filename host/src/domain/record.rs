//! Records: the latest state of what events are about, as automation platforms poll it.

use super::event::Event;
use super::time::Timestamp;
use serde_json::value::RawValue;

/// Data with fewer members than this tells of a record, but does not hold it: some senders give little
/// more than its id.
const WHOLE: usize = 3;
/// Data longer than this is not looked at: it holds the record.
const LONG: usize = 256;

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
    /// or has no object to say it with.
    pub fn of(event: &Event) -> Option<Self> {
        let id = event.resource_id.as_deref()?;
        let data = event.data.get();
        data.starts_with('{').then(|| Self {
            ordinal: id.parse().unwrap_or(0),
            whole: data.len() > LONG || members(data) >= WHOLE,
            deleted: event.event_type.ends_with(".deleted"),
        })
    }
}

fn members(data: &str) -> usize {
    let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(data);
    object.map_or(0, |object| object.len())
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
