//! Where a source keeps the row of a record, for erasing it.
//!
//! Its content is taken away and its hash stays: so the next run does not take the row for a new
//! one and tell of it again. What changed of it cannot be told once, as there is nothing to compare
//! it with.
//!
//! A list or table that was taken out of a source is not read any more, and its rows are still
//! kept. Nobody knows what records they were, so the row with the record's key goes in each.

use super::letters::list_name;
use super::{database, poll, rows};
use crate::model::source::Source;
use crate::store::erase::KeptPlace;
use serde_json::Value;

/// The rows that a source may keep of a record.
pub fn kept_places(source: &Source, resource: &str, resource_id: &str) -> Vec<KeptPlace> {
    let place = |list, is_whole, instead| place_in(source, list, is_whole, resource_id, instead);
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
        let own = database::own_lists_of(read, resource);
        places.extend(own.into_iter().map(|list| place(list, false, key_cells(resource_id))));
    }
    places
}

/// The rows of that key in lists that are kept and that the source does not read any more.
pub fn abandoned_places(source: &Source, kept: &[String], resource_id: &str) -> Vec<KeptPlace> {
    let abandoned = kept.iter().filter(|list| !is_read(source, list));
    let place = |list: &String| {
        let instead =
            if database::is_own_list(list) { key_cells(resource_id) } else { String::new() };
        place_in(source, list.clone(), true, resource_id, instead)
    };
    abandoned.map(place).collect()
}

/// Whether a source reads the list whose rows are kept under that name.
fn is_read(source: &Source, list: &str) -> bool {
    let settings = &source.settings;
    settings.poll.as_ref().is_some_and(|polled| poll::reads_list(polled, list))
        || settings.database.as_ref().is_some_and(|read| database::reads_list(read, list))
}

fn place_in(
    source: &Source,
    list: String,
    is_whole: bool,
    resource_id: &str,
    instead: String,
) -> KeptPlace {
    let (shown_list, key) = (list_name(&list).to_owned(), rows::number(resource_id));
    KeptPlace { source: source.id, list, is_whole, shown_list, key, instead }
}

/// What is kept of a row of which only the key is known. A text such as `007` stays a text: the
/// number 7 is the key of another row.
fn key_cells(resource_id: &str) -> String {
    let number = resource_id.parse::<i64>().ok();
    let number = number.filter(|number| number.to_string() == resource_id);
    number.map_or_else(|| Value::from(resource_id), Value::from).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_erased_row_is_kept_as_it_was() {
        for (id, wanted) in
            [("7", "7"), ("-7", "-7"), ("9223372036854775807", "9223372036854775807")]
        {
            assert_eq!(key_cells(id), wanted);
        }
        for text in ["007", "+7", "-0", "7.0", "a\"b", "9223372036854775808"] {
            assert_eq!(key_cells(text), Value::from(text).to_string());
        }
    }
}
