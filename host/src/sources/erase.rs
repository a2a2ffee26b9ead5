//! Where a source keeps the row of a record, for erasing it.
//!
//! Its content is taken away and its hash stays: so the next run does not take the row for a new
//! one and tell of it again. What changed of it cannot be told once, as there is nothing to compare
//! it with.

use super::{database, poll, rows};
use crate::model::source::Source;
use crate::store::erase::KeptPlace;
use serde_json::Value;

/// The rows that a source may keep of a record.
pub fn kept_places(source: &Source, resource: &str, resource_id: &str) -> Vec<KeptPlace> {
    let place = |list: String, is_whole, instead: String| KeptPlace {
        source: source.id,
        list,
        is_whole,
        key: rows::number(resource_id),
        instead,
    };
    let settings = &source.settings;
    let mut places = Vec::new();
    if let Some(polled) = &settings.poll {
        let lists = poll::lists_of(polled, resource);
        places.extend(lists.into_iter().map(|list| place(list, true, String::new())));
    }
    if let Some(read) = &settings.database {
        let tables = database::tables_of(resource);
        places.extend(tables.map(|table| place(table.to_owned(), true, String::new())));
        // Of a row of another table the key is needed to tell that it is gone.
        let key = resource_id.parse::<i64>().map_or_else(|_| Value::from(resource_id), Value::from);
        let own = database::own_lists_of(read, resource);
        places.extend(own.into_iter().map(|list| place(list, false, key.to_string())));
    }
    places
}
