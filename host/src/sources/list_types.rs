//! Which event types the rows of a source's list cause.

use super::poll;
use crate::crm::tables::find_table;
use crate::model::source::Source;

/// What happens to a row of a custom table.
const ROW_CHANGES: [&str; 3] = ["created", "updated", "deleted"];

/// Returns the event types that rows of a list cause, by the name that operators know it by. Empty
/// if the source does not read the list any more.
pub fn list_event_types(source: &Source, list: &str) -> Vec<String> {
    if let Some(polled) = &source.settings.poll {
        return poll::event_types_of(polled, list);
    }
    let Some(read) = &source.settings.database else { return Vec::new() };
    if let Some(own) = read.own_tables.iter().find(|own| own.table == list) {
        return ROW_CHANGES.map(|change| format!("{}.{change}", own.resource())).to_vec();
    }
    let rules = find_table(list).map(|table| table.rules).unwrap_or_default();
    rules.iter().map(|rule| rule.event.to_owned()).collect()
}
